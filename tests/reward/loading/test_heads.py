"""Reward heads of other trainers: read exactly, or refused by what they are."""

import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.models.llama.modeling_llama import LlamaModel, LlamaPreTrainedModel

from music.errors import InvalidInputError
from music.reward import RewardModel
from music.reward.loading import load_checkpoint

TOLERANCE = 1e-5
GPU_ONLY = Path(sys.prefix) / "gpu-only" / "openrlhf"


@pytest.fixture
def conversations(make_conversation):
    return [make_conversation(seed, num_turns=1 + seed % 3) for seed in range(4)]


@pytest.fixture
def raw(reward_checkpoint, vanilla_rewards, conversations):
    """Rewards of the plain reward model, from vanilla transformers."""
    path = reward_checkpoint()
    classifier = AutoModelForSequenceClassification.from_pretrained(path)
    return vanilla_rewards(classifier, AutoTokenizer.from_pretrained(path), conversations)


@pytest.fixture
def openrlhf(monkeypatch):
    """OpenRLHF's own module of reward models, without what it needs a GPU for."""
    importlib.import_module("peft")  # they look for deepspeed when they are imported, and must not find the stub
    importlib.import_module("transformers.integrations.deepspeed")
    assert GPU_ONLY.is_dir(), f"{GPU_ONLY} is missing: `make test` installs OpenRLHF there"
    for name, folder in (("openrlhf", GPU_ONLY), ("openrlhf.models", GPU_ONLY / "models")):
        package = ModuleType(name)
        package.__path__ = [str(folder)]
        monkeypatch.setitem(sys.modules, name, package)
    stubs = {
        "deepspeed": {},
        "openrlhf.utils": {},
        "openrlhf.utils.logging_utils": {"init_logger": lambda name: SimpleNamespace(info=print)},
        "openrlhf.models.ring_attn_utils": {"gather_and_pad_tensor": None, "unpad_and_slice_tensor": None},
        "openrlhf.models.utils": {"set_z3_leaf_modules": None},
    }
    for name, content in stubs.items():
        stub = ModuleType(name)
        vars(stub).update(content)
        monkeypatch.setitem(sys.modules, name, stub)
    module = importlib.import_module("openrlhf.models.model")
    for name in ("deepspeed", "openrlhf.models.model"):
        sys.modules.pop(name)
    return module


def with_eos(tokenizer):
    """Name the token that closes messages as EOS, where OpenRLHF reads."""
    tokenizer.eos_token = "<|end|>"
    return tokenizer


def renamed(head, **more):
    """Keep the weights under another name of the head, with further ones."""

    def edit(weights):
        return {n.replace("score.", f"{head}."): w for n, w in weights.items()} | more

    return edit


@pytest.mark.parametrize("head", ["score", "value_head", "v_head", "v_head.summary"])
@pytest.mark.parametrize("bias", [None, 0.75])
def test_a_linear_head_is_read_under_each_of_its_names_with_its_bias(
    reward_checkpoint, edit_checkpoint, conversations, raw, head, bias
):
    more = {} if bias is None else {f"{head}.bias": torch.tensor([bias])}
    path = edit_checkpoint(reward_checkpoint(), renamed(head, **more))
    scores = RewardModel.from_pretrained(path, device="cpu").score(conversations)
    assert scores == pytest.approx([reward + (bias or 0) for reward in raw], abs=TOLERANCE)


def test_a_bias_is_saved_and_read_again_and_its_loss_elsewhere_is_reported(
    reward_checkpoint, edit_checkpoint, conversations, raw, tmp_path, caplog
):
    path = edit_checkpoint(reward_checkpoint(), renamed("score", **{"score.bias": torch.tensor([0.75])}))
    RewardModel.from_pretrained(path, device="cpu").save_pretrained(tmp_path / "saved")
    assert "vanilla transformers would leave out" in caplog.text
    again = RewardModel.from_pretrained(tmp_path / "saved", device="cpu").score(conversations)
    assert again == pytest.approx([reward + 0.75 for reward in raw], abs=TOLERANCE)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("head", ["score", "value_head"])
def test_openrlhfs_models_score_as_its_own_forward(
    openrlhf, reward_checkpoint, make_tokenizer, conversations, vanilla_rewards, tmp_path, head, normalise
):
    config = AutoModelForSequenceClassification.from_pretrained(reward_checkpoint()).config
    config.normalize_reward, config.value_head_prefix, config.mean, config.std = normalise, head, 0.3, 1.7
    torch.manual_seed(0)
    theirs = openrlhf._get_reward_model(LlamaPreTrainedModel, LlamaModel, head)(config).eval()
    nn.init.normal_(getattr(theirs, head).weight, std=0.5)
    theirs.save_pretrained(tmp_path)
    tokenizer = with_eos(make_tokenizer())
    tokenizer.save_pretrained(tmp_path)
    model = RewardModel.from_pretrained(tmp_path, device="cpu")
    expected = vanilla_rewards(theirs, tokenizer, conversations)
    assert model.score(conversations) == pytest.approx(expected, abs=TOLERANCE)
    model.save_pretrained(tmp_path / "saved")
    assert RewardModel.from_pretrained(tmp_path / "saved", device="cpu").score(conversations) == pytest.approx(
        expected, abs=TOLERANCE
    )


def test_statistics_kept_as_weights_are_those_that_normalise(reward_checkpoint, edit_checkpoint, conversations, raw):
    more = {"mean": torch.tensor([0.5]), "std": torch.tensor([2.0])}
    path = edit_checkpoint(reward_checkpoint(), renamed("score", **more), normalize_reward=True)
    with_eos(AutoTokenizer.from_pretrained(path)).save_pretrained(path)
    scores = RewardModel.from_pretrained(path, device="cpu").score(conversations)
    assert scores == pytest.approx([(reward - 0.5) / 2 for reward in raw], abs=TOLERANCE)


def test_a_standard_deviation_of_zero_is_refused(reward_checkpoint, edit_checkpoint):
    path = edit_checkpoint(reward_checkpoint(), mean=0.5, std=0.0, normalize_reward=True)
    with pytest.raises(InvalidInputError, match="std > 0"):
        load_checkpoint(path, dtype=torch.float32)


WIDE, ROW = torch.ones(32, 32), torch.ones(1, 32)
FOREIGN = {
    "an MLP head (score.0, score.2)": {"score.0.weight": WIDE, "score.2.weight": ROW},
    "an MLP head (v_head.0, v_head.2)": {"v_head.0.weight": WIDE, "v_head.2.weight": ROW, "v_head.2.bias": ROW[0, :1]},
    "an MLP head (v_head.summary.0, v_head.summary.2)": {
        "v_head.summary.0.weight": WIDE,
        "v_head.summary.2.weight": ROW,
    },
    "a head of 19 objectives (gating.layers.0, regression_layer)": {
        "regression_layer.weight": torch.ones(19, 32),
        "gating.layers.0.weight": WIDE,
    },
    "a head with the weights regression_head.weight": {"regression_head.weight": ROW},
    "several heads (score, v_head.summary)": {"score.weight": ROW, "v_head.summary.weight": ROW},
    "a head score with 5 labels": {"score.weight": torch.ones(5, 32)},
}


@pytest.mark.parametrize("is_to_be_trained", [False, True])
@pytest.mark.parametrize("kind", FOREIGN)
def test_another_head_is_refused_by_what_it_is_and_never_replaced(
    language_checkpoint, edit_checkpoint, kind, is_to_be_trained
):
    path = edit_checkpoint(language_checkpoint(), lambda weights: weights | FOREIGN[kind])
    with pytest.raises(InvalidInputError) as refusal:
        load_checkpoint(path, dtype=torch.float32, head_seed=0 if is_to_be_trained else None)
    assert kind in str(refusal.value)
    assert "language model" not in str(refusal.value)


def test_a_head_for_another_hidden_size_is_refused(language_checkpoint, edit_checkpoint):
    path = edit_checkpoint(language_checkpoint(), lambda weights: weights | {"v_head.weight": torch.ones(1, 16)})
    with pytest.raises(InvalidInputError, match="a head of 32 weights, as the hidden size, got 16"):
        load_checkpoint(path, dtype=torch.float32)


def test_a_base_with_a_value_head_keeps_it_in_training(language_checkpoint, edit_checkpoint):
    head = torch.randn(1, 32)
    path = edit_checkpoint(language_checkpoint(), lambda weights: weights | {"v_head.summary.weight": head})
    loaded = load_checkpoint(path, dtype=torch.float32, head_seed=0)
    assert not loaded.new_head
    assert torch.equal(loaded.classifier.score.weight, head)


@pytest.mark.parametrize("wrapper", ["module.", "pretrained_model.", "_orig_mod.module.", "base_model.model."])
def test_what_a_trainer_put_around_a_model_is_taken_off(
    reward_checkpoint, edit_checkpoint, conversations, raw, wrapper
):
    path = edit_checkpoint(reward_checkpoint(), lambda weights: {wrapper + n: w for n, w in weights.items()})
    assert RewardModel.from_pretrained(path, device="cpu").score(conversations) == pytest.approx(raw, abs=TOLERANCE)


def test_a_backbone_saved_without_its_prefix_is_read(reward_checkpoint, edit_checkpoint, conversations, raw):
    path = edit_checkpoint(reward_checkpoint(), lambda ws: {n.removeprefix("model."): w for n, w in ws.items()})
    assert RewardModel.from_pretrained(path, device="cpu").score(conversations) == pytest.approx(raw, abs=TOLERANCE)


def test_deepspeed_chats_layout_is_read(reward_checkpoint, edit_checkpoint, conversations, raw):
    def relaid(weights):
        named = {"score.weight": "v_head.weight"}
        return {named.get(n, n.replace("model.", "rwtransformer.", 1)): w for n, w in weights.items()}

    path = edit_checkpoint(reward_checkpoint(), relaid)
    assert RewardModel.from_pretrained(path, device="cpu").score(conversations) == pytest.approx(raw, abs=TOLERANCE)


def test_missing_and_unknown_weights_are_named(reward_checkpoint, edit_checkpoint):
    lost = "model.layers.1.mlp.up_proj.weight"
    path = edit_checkpoint(reward_checkpoint(), lambda ws: {n: w for n, w in ws.items() if n != lost})
    with pytest.raises(InvalidInputError, match=f"the checkpoint lacks {lost}"):
        load_checkpoint(path, dtype=torch.float32, head_seed=0)
    path = edit_checkpoint(reward_checkpoint(), lambda ws: ws | {"model.layers.1.mlp.extra.weight": torch.ones(2)})
    with pytest.raises(InvalidInputError, match=r"no place.*model\.layers\.1\.mlp\.extra\.weight"):
        load_checkpoint(path, dtype=torch.float32, head_seed=0)


def test_the_head_of_a_language_model_is_left_out(language_checkpoint):
    path = language_checkpoint()
    assert "lm_head.weight" in load_file(path / "model.safetensors")
    assert load_checkpoint(path, dtype=torch.float32, head_seed=0).new_head
