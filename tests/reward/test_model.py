import json
import shutil
from typing import get_args

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward import CONTRACT_FILE, ContractError, Readout, RewardModel, UnscorableError, read_rewards
from music.reward.tokens.contract import Unscorable
from music.sandbox import REWARD_MODEL, ErrorKind
from music.sandbox.world.defects import draw_defects

FAMILIES = ("llama", "gemma2")
TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request, reward_checkpoint):
    return reward_checkpoint(request.param)


@pytest.fixture(scope="module")
def model(checkpoint):
    return RewardModel.from_pretrained(checkpoint, device="cpu")


@pytest.fixture
def conversations(make_conversation):
    return [make_conversation(seed, num_turns=1 + seed % 4) for seed in range(12)]


@pytest.fixture(scope="module", params=["turn_mean", "turn_min", "end_weighted"])
def by_turns(request, model):
    return model.with_readout(request.param)


def vanilla_scores(directory, conversations):
    """Score as anyone with transformers alone would: padded batch, attention mask, the class's own pooling."""
    classifier = AutoModelForSequenceClassification.from_pretrained(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    batch = tokenizer.apply_chat_template(
        [c.to_messages() for c in conversations], return_dict=True, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        return classifier(**batch).logits.squeeze(-1).tolist()


def shortened(model, max_length):
    """Return the model under a contract with another length limit."""
    return RewardModel(model._classifier, model.tokens.with_contract(max_length=max_length), "cpu")


def test_a_saved_model_scores_the_same_in_plain_transformers(model, conversations, tmp_path):
    model.save_pretrained(tmp_path)
    assert vanilla_scores(tmp_path, conversations) == pytest.approx(model.score(conversations), abs=TOLERANCE)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["problem_type"] == "regression"
    assert config["pad_token_id"] == 0
    assert len(config["id2label"]) == 1
    assert "music" not in json.dumps(config)


def test_scores_do_not_depend_on_the_batch(model, conversations):
    together = model.score(conversations)
    alone = [model.score([conversation])[0] for conversation in conversations]
    assert together == pytest.approx(alone, abs=TOLERANCE)
    assert model.score(conversations[::-1]) == pytest.approx(alone[::-1], abs=TOLERANCE)
    assert max(alone) - min(alone) > 0.1


def test_turn_scores_are_those_of_the_conversations_cut_there(model, conversations):
    for conversation, scores in zip(conversations, model.score_turns(conversations), strict=True):
        cut = [conversation.prefix(end) for end in conversation.turn_ends]
        assert scores == pytest.approx(model.score(cut), abs=TOLERANCE)


def test_turn_scores_hold_beyond_the_length_limit(model, make_conversation):
    short = shortened(model, 70)
    conversation = make_conversation(7, num_turns=8)
    assert any(encoding.num_dropped_turns for encoding in short.tokens.encode_all([conversation]))
    cut = [conversation.prefix(end) for end in conversation.turn_ends]
    assert short.score_turns([conversation])[0] == pytest.approx(short.score(cut), abs=TOLERANCE)


def test_a_score_is_read_from_the_turns_that_are_seen(model, by_turns, make_conversation):
    conversations = [make_conversation(seed, num_turns=1 + seed) for seed in range(5)]
    cut = [model.score([c.prefix(end) for end in c.turn_ends]) for c in conversations]
    scores = [read_rewards(by_turns.contract.readout, rewards) for rewards in cut]
    assert by_turns.score(conversations) == pytest.approx(scores, abs=TOLERANCE)
    assert [each.score for each in by_turns.score_each(conversations, per_turn=True)] == pytest.approx(
        scores, abs=TOLERANCE
    )
    conversation = make_conversation(7, num_turns=8)
    short = shortened(by_turns, 70)
    [encoding] = short.tokens.encode_all([conversation])
    kept = Conversation(messages=conversation.messages[2 * encoding.num_dropped_turns :])
    assert encoding.num_dropped_turns > 0
    assert short.score([conversation]) == pytest.approx(by_turns.score([kept]), abs=TOLERANCE)


def test_a_trained_model_reads_conversations_by_all_readouts_from_the_rewards_of_these_cut():
    model = RewardModel.from_pretrained(REWARD_MODEL, device="cpu")
    conversations = [defect.pair.rejected for defect in draw_defects(ErrorKind.TOPIC, 1, 5, num=8, seed=0)]
    cut = [model.score([c.prefix(end) for end in c.turn_ends]) for c in conversations]
    rankings = set()
    for readout in get_args(Readout):
        scores = model.with_readout(readout).score(conversations)
        assert scores == pytest.approx([read_rewards(readout, rewards) for rewards in cut], abs=TOLERANCE)
        rankings.add(tuple(sorted(range(8), key=scores.__getitem__)))
    assert len(rankings) == 4


def test_a_readout_travels_with_the_checkpoint(model, by_turns, conversations, tmp_path):
    by_turns.save_pretrained(tmp_path)
    again = RewardModel.from_pretrained(tmp_path, device="cpu")
    assert again.contract.readout == by_turns.contract.readout
    assert again.score(conversations) == pytest.approx(by_turns.score(conversations), abs=TOLERANCE)
    assert again.with_readout("last").score(conversations) == pytest.approx(model.score(conversations), abs=TOLERANCE)


@pytest.mark.parametrize("readout", get_args(Readout))
@pytest.mark.parametrize("max_length", [512, 110])
def test_candidates_score_as_whole_conversations(model, make_conversation, readout, max_length):
    """Also where some candidates are so long that an exchange is dropped."""
    scorer = shortened(model.with_readout(readout), max_length)
    history = make_conversation(1, num_turns=4).user("What is the plan?")
    candidates = ["A walk.", "A walk", "No plan at all, it is cold.", "walk " * 30, "A walk."]
    conversations = [history.assistant(text) for text in candidates]
    dropped = {encoding.num_dropped_turns for encoding in scorer.tokens.encode_all(conversations)}
    assert len(dropped) == (1 if max_length == 512 else 2)
    alone = [scorer.score([conversation])[0] for conversation in conversations]
    assert scorer.score_candidates(history, candidates) == pytest.approx(alone, abs=TOLERANCE)
    assert scorer.score(conversations) == pytest.approx(alone, abs=TOLERANCE)


def test_what_conversations_share_is_computed_once(model, make_conversation, count_tokens):
    history = make_conversation(1, num_turns=5, num_words=30).user("What is the plan?")
    candidates = [f"plan {number}" for number in range(8)]
    conversations = [history.assistant(text) for text in candidates]
    longest = max(len(encoding.ids) for encoding in model.tokens.encode_all(conversations))
    for score in (lambda: model.score_candidates(history, candidates), lambda: model.score(conversations)):
        with count_tokens(model) as num_tokens:
            score()
        assert sum(num_tokens) < 1.5 * longest


def test_many_candidates_do_not_make_one_giant_row(model, make_conversation, count_tokens):
    history = make_conversation(1).user("What is the plan?")
    candidates = [f"{number} " * 20 for number in range(100)]
    with count_tokens(model) as num_tokens:
        scores = model.score_candidates(history, candidates)
    assert sum(num_tokens) > 4000
    assert max(num_tokens) <= 2048 + 512
    assert scores[50:52] == pytest.approx(model.score_candidates(history, candidates[50:52]), abs=TOLERANCE)


def test_nothing_to_score_gives_nothing(model):
    assert model.score([]) == model.score_turns([]) == []


@pytest.mark.parametrize("conversation", [Conversation(), Conversation().user("Hi!")])
def test_a_conversation_without_a_last_reply_is_refused(model, conversation):
    with pytest.raises(UnscorableError, match="end with the assistant"):
        model.score([conversation])
    scored, problem = model.score_each([Conversation().user("Hi!").assistant("Ho."), conversation])
    assert scored.score is not None
    assert (problem.score, problem.problem) == (None, Unscorable.NO_REPLY)
    by_turn = model.score_each([conversation, Conversation().user("Hi!").assistant("Ho.").user("And?")], per_turn=True)
    assert [each.problem for each in by_turn] == [Unscorable.NO_REPLY] * 2


def test_an_over_long_last_exchange_is_an_error_not_a_score(model):
    with pytest.raises(UnscorableError, match=r"conversation 1 .*over_long"):
        model.score([Conversation().user("Hi!").assistant("Ho."), Conversation().user("Hi!").assistant("walk " * 600)])


def test_a_turn_without_a_score_is_named(model):
    conversation = Conversation().user("Hi!").assistant("walk " * 600).user("Hi!").assistant("Ho.")
    with pytest.raises(UnscorableError, match=r"conversation 0, turn 0 .*over_long"):
        model.score_turns([conversation])


def test_a_template_that_rewrites_history_has_no_turn_scores(reward_checkpoint, make_conversation, tmp_path):
    shutil.copytree(reward_checkpoint(), tmp_path, dirs_exist_ok=True)
    (tmp_path / "chat_template.jinja").write_text(
        "{% for m in messages %}<|{{ m['role'] }}|>{% if loop.last %}<think></think>{% endif %}"
        "{{ m['content'] }}<|end|>{% endfor %}"
    )
    model = RewardModel.from_pretrained(tmp_path, device="cpu")
    assert len(model.score([make_conversation(0)])) == 1
    with pytest.raises(ContractError, match="renders a history differently"):
        model.score_turns([make_conversation(0)])
    with pytest.raises(ContractError, match="renders a history differently"):
        model.with_readout("turn_mean")


def test_a_reply_that_swallows_the_reward_token_has_no_score_by_any_way(reward_checkpoint, make_tokenizer):
    path = reward_checkpoint()
    tokenizer = make_tokenizer("{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}")
    tokenizer.add_tokens(["\n\n"])
    tokenizer.save_pretrained(path)
    model = RewardModel.from_pretrained(path, device="cpu")
    history = Conversation().user("Hi!")
    sound, merged = history.assistant("Ho."), history.assistant("Ho.\n")
    later = merged.user("And?").assistant("Yes.")
    first, second = model.score_each([sound, merged])
    assert first.score == model.score([sound])[0]
    assert (second.score, second.problem) == (None, Unscorable.REWARD_TOKEN_MISSING)
    ways = (
        lambda: model.score([sound, merged]),
        lambda: model.score_turns([later]),
        lambda: model.score_candidates(history, ["Ho.", "Ho.\n"]),
        lambda: model.with_prefix_cache().score([merged]),
        lambda: model.session(history).score_candidates(["Ho.\n"]),
        lambda: model.with_readout("turn_mean").score([later]),
    )
    for way in ways:
        with pytest.raises(UnscorableError, match="reward_token_missing"):
            way()


def test_a_checkpoint_without_a_contract_gets_one_with_a_notice(reward_checkpoint, caplog):
    path = reward_checkpoint()
    model = RewardModel.from_pretrained(path, device="cpu")
    assert "the contract is derived from its tokenizer" in caplog.text
    assert model.contract.max_length == 512
    assert not (path / CONTRACT_FILE).exists()


def test_a_checkpoint_whose_template_was_changed_is_refused(reward_checkpoint, tmp_path):
    RewardModel.from_pretrained(reward_checkpoint(), device="cpu").save_pretrained(tmp_path)
    template = tmp_path / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|end|>", " <|end|>"))
    with pytest.raises(ContractError, match="chat_template_sha256") as error:
        RewardModel.from_pretrained(tmp_path, device="cpu")
    assert str(tmp_path) in str(error.value)


def test_a_language_model_is_not_taken_for_a_reward_model(language_checkpoint):
    with pytest.raises(InvalidInputError, match=r"lacks score\.weight"):
        RewardModel.from_pretrained(language_checkpoint(), device="cpu")


@pytest.mark.parametrize("path", ["/no/such/folder", "./missing", "runs/rm/typo"])
def test_a_folder_that_is_not_there_is_said_to_be_missing(path):
    with pytest.raises(InvalidInputError, match="there is no such folder"):
        RewardModel.from_pretrained(path)


def test_a_classifier_with_several_labels_is_refused(tmp_path, reward_checkpoint):
    shutil.copytree(reward_checkpoint(), tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["id2label"] = {"0": "bad", "1": "good"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidInputError, match="2 labels"):
        RewardModel.from_pretrained(tmp_path, device="cpu")


def test_pickled_weights_are_not_read(reward_checkpoint, tmp_path):
    shutil.copytree(reward_checkpoint(), tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").unlink()
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InvalidInputError, match="safetensors"):
        RewardModel.from_pretrained(tmp_path, device="cpu")


def test_says_what_it_runs_on(reward_checkpoint):
    description = RewardModel.from_pretrained(reward_checkpoint(), device="cpu").description
    assert "LlamaForSequenceClassification" in description
    assert description.endswith("on cpu in float32, attention gather")
    cached = RewardModel.from_pretrained(reward_checkpoint(), device="cpu").with_prefix_cache()
    # 1 GiB, of which a token of 2 layers with 2 key heads of 8 numbers takes 256 bytes.
    assert cached.description == f"{description}, prefix cache of 4,194,304 tokens"


def test_attention_can_be_chosen(reward_checkpoint):
    path = reward_checkpoint()
    assert "attention flex" in RewardModel.from_pretrained(path, device="cpu", attention="flex").description
    with pytest.raises(InvalidInputError, match="expected one of gather, flex, varlen"):
        RewardModel.from_pretrained(path, device="cpu", attention="eager")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b'{"a": 1}'),
        ("model.safetensors", b"\x08\x00"),
        ("tokenizer.json", b"{"),
        ("score_contract.json", b"{}"),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_one_line_that_names_it(reward_checkpoint, tmp_path, file, content):
    shutil.copytree(reward_checkpoint(), tmp_path, dirs_exist_ok=True)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(InvalidInputError) as refusal:
        RewardModel.from_pretrained(tmp_path, device="cpu")
    assert str(refusal.value).startswith(str(tmp_path))
    assert "\n" not in str(refusal.value)
