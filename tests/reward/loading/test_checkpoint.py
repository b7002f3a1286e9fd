"""Folders of every kind: each loads exactly, or is refused in one line; no code of a checkpoint is ever run."""

import json
import shutil

import pytest
import torch
import typer
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from typer.testing import CliRunner

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.pairs import PreferencePair
from music.preferences import write_preferences
from music.reward import RewardModel
from music.reward.cli import score
from music.reward.loading import load_checkpoint, saved_dtype
from music_trainers.cli import train

APP = typer.Typer()
APP.command("score")(score)
APP.command("train")(train)
TOLERANCE = 1e-5
HISTORY = Conversation().user("Hi!").assistant("Hello.").user("Name a fruit.")


@pytest.fixture
def conversations(make_conversation):
    return [make_conversation(seed, num_turns=1 + seed % 3) for seed in range(4)]


@pytest.fixture(autouse=True)
def no_question(monkeypatch):
    """Fail whatever asks on the terminal."""

    def ask(*_):
        raise AssertionError("a question was asked")

    monkeypatch.setattr("builtins.input", ask)


def with_code(path, kind, **config):
    """Give a checkpoint code of its own, which writes a file wherever it is run."""
    source = f"open({str(path / 'ran')!r}, 'w').close()\nclass Own: pass\n"
    for file in ("modeling_own.py", "configuration_own.py", "tokenization_own.py"):
        (path / file).write_text(source)
    classes = {
        "model": {"AutoModelForSequenceClassification": "modeling_own.Own", "AutoModel": "modeling_own.Own"},
        "config": {"AutoConfig": "configuration_own.Own"},
    }
    settings = json.loads((path / "config.json").read_text())
    if kind == "tokenizer":
        file = path / "tokenizer_config.json"
        own = {"auto_map": {"AutoTokenizer": ["tokenization_own.Own", None]}, "tokenizer_class": "Own"}
        file.write_text(json.dumps(json.loads(file.read_text()) | own))
    else:
        settings["auto_map"] = classes[kind]
    (path / "config.json").write_text(json.dumps(settings | config))
    return path


INTERNLM = {"architectures": ["InternLM2ForRewardModel"], "model_type": "internlm2"}
ARMO = {"architectures": ["LlamaForRewardModelWithGating"]}
EURUS = {"architectures": ["EurusRewardModel"]}


@pytest.mark.parametrize(
    ("kind", "config", "words"),
    [
        ("config", INTERNLM, "InternLM2ForRewardModel, defined by code that comes with the checkpoint"),
        (
            "model",
            ARMO,
            "LlamaForRewardModelWithGating, defined by code that comes with the checkpoint (modeling_own.py)",
        ),
        ("model", EURUS, "EurusRewardModel, defined by code"),
        ("config", {"model_type": "own", "architectures": None}, "of type own, defined by code"),
        ("tokenizer", {}, "expected a tokenizer"),
    ],
)
def test_a_model_that_only_its_own_code_defines_is_refused_and_the_code_not_run(
    reward_checkpoint, edit_checkpoint, kind, config, words
):
    path = with_code(edit_checkpoint(reward_checkpoint()), kind, **config)
    refuses(path, words)
    assert not (path / "ran").exists()


@pytest.mark.parametrize("kind", ["model", "config"])
def test_where_transformers_has_the_model_too_its_own_is_used(
    reward_checkpoint, edit_checkpoint, conversations, caplog, kind
):
    expected = RewardModel.from_pretrained(reward_checkpoint(), device="cpu").score(conversations)
    path = with_code(edit_checkpoint(reward_checkpoint()), kind)
    assert RewardModel.from_pretrained(path, device="cpu").score(conversations) == expected
    assert "own.py) is not run" in caplog.text
    assert not (path / "ran").exists()


def test_a_head_that_own_code_computes_is_refused_though_transformers_knows_the_class(
    reward_checkpoint, edit_checkpoint
):
    mlp = {"score.0.weight": torch.ones(32, 32), "score.2.weight": torch.ones(1, 32)}
    path = edit_checkpoint(
        reward_checkpoint(), lambda weights: {n: w for n, w in weights.items() if n != "score.weight"} | mlp
    )
    refuses(with_code(path, "model"), "an MLP head (score.0, score.2)")


def refuses(path, words):
    """Expect one line from the library, and no traceback from the commands."""
    with pytest.raises(InvalidInputError) as refusal:
        load_checkpoint(path, dtype=torch.float32, head_seed=0)
    message = str(refusal.value)
    assert message.startswith(str(path))
    assert words in message
    assert "\n" not in message
    pairs = [
        PreferencePair(id=str(i), chosen=HISTORY.assistant("Pear."), rejected=HISTORY.assistant("A")) for i in "ab"
    ]
    write_preferences(pairs, path / "pairs.jsonl")
    for command in (
        ("score", path, path / "pairs.jsonl", "--device", "cpu"),
        ("train", path / "pairs.jsonl", "--base", path, "--out", path / "out", "--device", "cpu", "--eval-fraction", 0),
    ):
        outcome = CliRunner().invoke(APP, [str(word) for word in command])
        assert isinstance(outcome.exception, InvalidInputError), outcome.exception
    return message


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "quantised (bitsandbytes, 4 bits)"),
        ({"quant_method": "gptq", "bits": 4}, "quantised (gptq, 4 bits)"),
        ({"quant_method": "awq", "bits": 4}, "quantised (awq, 4 bits)"),
        ({"quant_method": "fp8"}, "quantised (fp8)"),
    ],
)
def test_quantised_weights_are_refused_by_their_kind(reward_checkpoint, edit_checkpoint, settings, words):
    refuses(edit_checkpoint(reward_checkpoint(), quantization_config=settings), words)


def test_pickled_weights_are_refused_with_the_remedy(reward_checkpoint, edit_checkpoint):
    path = edit_checkpoint(reward_checkpoint())
    (path / "model.safetensors").unlink()
    refuses(path, "model.safetensors is missing")
    torch.save({}, path / "pytorch_model.bin")
    refuses(path, "got pytorch_model.bin. Reading a pickle can run code")


def sharded(path):
    AutoModelForSequenceClassification.from_pretrained(path).save_pretrained(path, max_shard_size="40KB")
    (path / "model.safetensors").unlink(missing_ok=True)
    return sorted(path.glob("model-*.safetensors"))


def test_shards_are_read_together_and_a_missing_or_damaged_one_is_named(
    reward_checkpoint, edit_checkpoint, conversations
):
    path = edit_checkpoint(reward_checkpoint())
    shards = sharded(path)
    assert len(shards) > 1
    expected = RewardModel.from_pretrained(reward_checkpoint(), device="cpu").score(conversations)
    assert RewardModel.from_pretrained(path, device="cpu").score(conversations) == expected
    whole = shards[1].read_bytes()
    shards[1].write_bytes(whole[: len(whole) // 2])
    refuses(path, f"{shards[1].name} is damaged or cut off")
    shards[1].unlink()
    refuses(path, f"expected the file {shards[1].name}")
    for index in ("{", '{"weight_map": 3}', "[]"):
        (path / "model.safetensors.index.json").write_text(index)
        refuses(path, "expected an index of its weights")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["model.layers.1.mlp.down_proj.weight", "score.weight"])
def test_weights_that_are_no_numbers_are_named(reward_checkpoint, edit_checkpoint, name, value):
    def spoilt(weights):
        weights[name][0, 3] = value
        return weights

    refuses(edit_checkpoint(reward_checkpoint(), spoilt), f"1 of {name} are NaN or infinite")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            {"vocab_size": 500},
            "fit its config.json, got model.embed_tokens.weight of shape [400, 32] instead of [500, 32]",
        ),
        ({"hidden_size": 64}, "expected weights that fit its config.json, got model."),
        ({"num_attention_heads": 0}, "expected"),
        ({"num_hidden_layers": "two"}, "expected a config.json"),
        ({"model_type": "nothing_known"}, "expected a config.json"),
        ({"pad_token_id": 400}, "names the pad token 400, but the model knows 400 tokens"),
        ({"num_hidden_layers": 3}, "lacks model.layers.2"),
        ({"num_hidden_layers": 1}, "no place"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(reward_checkpoint, edit_checkpoint, config, words):
    refuses(edit_checkpoint(reward_checkpoint(), **config), words)


def test_a_missing_tokenizer_is_refused_with_the_remedy(reward_checkpoint, edit_checkpoint):
    path = edit_checkpoint(reward_checkpoint())
    for file in path.glob("*token*"):
        file.unlink()
    refuses(path, "tokenizer.save_pretrained(DIR)")


def fewer_rows(num):
    return lambda weights: weights | {"model.embed_tokens.weight": weights["model.embed_tokens.weight"][:num]}


def test_a_vocabulary_beyond_the_embedding_is_refused(reward_checkpoint, edit_checkpoint, make_tokenizer):
    num = len(make_tokenizer()) - 3
    path = edit_checkpoint(reward_checkpoint(), fewer_rows(num), vocab_size=num)
    refuses(path, f"gives tokens up to {num + 2}, but the model knows {num}")


def test_a_larger_embedding_is_fine(reward_checkpoint, edit_checkpoint, conversations):
    def more_rows(weights):
        rows = weights["model.embed_tokens.weight"]
        return weights | {"model.embed_tokens.weight": torch.cat([rows, torch.ones(24, rows.shape[1])])}

    expected = RewardModel.from_pretrained(reward_checkpoint(), device="cpu").score(conversations)
    path = edit_checkpoint(reward_checkpoint(), more_rows, vocab_size=424)
    assert RewardModel.from_pretrained(path, device="cpu").score(conversations) == expected


def test_a_special_token_beyond_the_embedding_is_plain_text(
    reward_checkpoint, edit_checkpoint, make_tokenizer, conversations, caplog, tmp_path
):
    expected = RewardModel.from_pretrained(reward_checkpoint(), device="cpu").score(conversations)
    tokenizer = make_tokenizer()
    num = len(tokenizer)
    tokenizer.add_tokens([AddedToken("<image_soft_token>", special=True)], special_tokens=True)
    path = edit_checkpoint(reward_checkpoint(), fewer_rows(num), vocab_size=num)
    tokenizer.save_pretrained(path)
    model = RewardModel.from_pretrained(path, device="cpu")
    assert "<image_soft_token> is plain text here" in caplog.text
    assert model.score(conversations) == pytest.approx(expected, abs=TOLERANCE)
    spelt = HISTORY.assistant("An <image_soft_token> is no fruit.")
    ids = model.tokens.encode_all([spelt])[0].ids
    assert max(ids) < num
    assert "<image_soft_token>" in model.tokens.tokenizer.decode(ids)
    model.save_pretrained(tmp_path / "saved")
    assert RewardModel.from_pretrained(tmp_path / "saved", device="cpu").score([spelt]) == model.score([spelt])


def test_a_pad_token_beyond_the_embedding_is_refused(reward_checkpoint, edit_checkpoint, make_tokenizer):
    tokenizer = make_tokenizer()
    num = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "<new pad>"})
    path = edit_checkpoint(reward_checkpoint(), fewer_rows(num), vocab_size=num)
    tokenizer.save_pretrained(path)
    refuses(path, "<new pad>")


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_public_classifiers_score_as_in_vanilla_transformers(
    reward_checkpoint, conversations, vanilla_rewards, tmp_path, family
):
    """Skywork's and FsfairX's models, for example: classifiers in bf16."""
    path = tmp_path / "rm"
    shutil.copytree(reward_checkpoint(family), path)
    weights = {name: weight.bfloat16() for name, weight in load_file(path / "model.safetensors").items()}
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    vanilla = AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32)
    expected = vanilla_rewards(vanilla, AutoTokenizer.from_pretrained(path), conversations)
    assert RewardModel.from_pretrained(path, device="cpu").score(conversations) == pytest.approx(
        expected, abs=TOLERANCE
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_type_of_the_saved_weights(dtype, reward_checkpoint, tmp_path):
    loaded = load_checkpoint(reward_checkpoint(), dtype=dtype)
    loaded.classifier.save_pretrained(tmp_path)
    assert saved_dtype(tmp_path) is dtype
