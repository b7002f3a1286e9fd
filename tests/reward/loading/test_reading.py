import json
import logging

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from music.conversation import Conversation
from music.reward import ContractError, RewardModel
from music.reward.loading import load_checkpoint
from music.reward.tokens.contract import CONTRACT_FILE
from tests.reward import openrlhf_reward

TOLERANCE = 1e-5
CHATML = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>\n{% endfor %}"
PLAIN_END = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}\n{% endfor %}"
TALK = Conversation().user("Name a fruit.").assistant("An apple.").user("Is it good?").assistant("Yes, it is.")


@pytest.fixture
def checkpoint(reward_checkpoint, make_tokenizer):
    """Return a maker of reward models without a contract, under a template, pad tokens and further configuration."""

    def make(template=None, pad_token="<|pad|>", eos_token=None, **config):
        path = reward_checkpoint()
        tokenizer = make_tokenizer(**({"template": template} if template else {}), pad_token=pad_token)
        if eos_token:
            tokenizer.eos_token = eos_token
        tokenizer.save_pretrained(path)
        settings = json.loads((path / "config.json").read_text()) | config
        (path / "config.json").write_text(json.dumps(settings))
        return path

    return make


def vanilla(path, conversation, pad_to=0):
    """Score one sequence in plain transformers, padded on the right to some length."""
    classifier, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(path),
        AutoTokenizer.from_pretrained(path),
    )
    options = {"padding": "max_length", "max_length": pad_to} if pad_to else {}
    batch = tokenizer.apply_chat_template(
        [conversation.to_messages()], return_dict=True, return_tensors="pt", padding_side="right", **options
    )
    with torch.no_grad():
        return classifier(**batch).logits.item()


END = 5
PADS = {  # pad token of the tokenizer and of config.json; where the reward is, and the pad token of what is saved
    "another": ("<|pad|>", 0, "last", 0),
    "the end of turn in both": ("<|end|>", END, "last_non_pad", END),
    "the end of turn, in config.json": ("<|pad|>", END, "last_non_pad", END),
    "the end of turn, in the tokenizer": ("<|end|>", 0, "last", 0),
    "the end of turn, in the tokenizer alone": ("<|end|>", None, "last", 0),
    "in config.json alone": (None, 2, "last", 2),
    "the end of turn, in config.json alone": (None, END, "last_non_pad", END),
    "nowhere": (None, None, "last", 0),
    "no token": (None, -1, "last", 0),
}


@pytest.mark.parametrize(("in_tokenizer", "in_config", "read_at", "saved"), PADS.values(), ids=PADS)
def test_a_trained_model_is_read_where_vanilla_transformers_reads(
    checkpoint, tmp_path, in_tokenizer, in_config, read_at, saved
):
    path = checkpoint(pad_token=in_tokenizer, pad_token_id=in_config)
    model = RewardModel.from_pretrained(path, device="cpu")
    assert (model.contract.read_at, model.contract.pad_token_id) == (read_at, saved)
    talks = [TALK, TALK.user("And?").assistant("No.<|end|>"), TALK.user("And?").assistant("<|pad|> <|end|><|end|>")]
    expected = [vanilla(path, talk) for talk in talks]
    assert model.score(talks) == pytest.approx(expected, abs=TOLERANCE)
    model.save_pretrained(tmp_path)
    for pad_to in (0, 200):
        assert [vanilla(tmp_path, talk, pad_to) for talk in talks] == pytest.approx(expected, abs=TOLERANCE)


def test_the_pad_token_at_the_end_shows_on_screen_and_stays(checkpoint, tmp_path, caplog):
    path = checkpoint(pad_token="<|end|>", pad_token_id=END)
    model = RewardModel.from_pretrained(path, device="cpu")
    assert "the reward is read at the last token before <|end|>, which is the pad token" in caplog.text
    assert "reward read at the last token before <|end|>, which is the pad token" in model.description
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / CONTRACT_FILE).read_text())["read_at"] == "last_non_pad"
    with pytest.raises(ContractError, match=r"reads the reward at `last_non_pad`, got `last`: leave --read-at out"):
        RewardModel.from_pretrained(tmp_path, device="cpu", read_at="last")


@pytest.mark.parametrize(
    "template", [None, "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}<|end|>"]
)
def test_every_way_to_score_reads_before_the_pad_token(checkpoint, template):
    """Also where the pad token closes the whole conversation alone, as in Phi-3's template."""
    path = checkpoint(template, pad_token="<|end|>", pad_token_id=END)
    model = RewardModel.from_pretrained(path, device="cpu")
    cut = [TALK.prefix(end) for end in TALK.turn_ends]
    turns = [vanilla(path, talk) for talk in cut]
    assert model.score_turns([TALK])[0] == pytest.approx(turns, abs=TOLERANCE)
    assert model.with_readout("turn_mean").score([TALK])[0] == pytest.approx(sum(turns) / 2, abs=TOLERANCE)
    assert model.with_prefix_cache().score(cut) == pytest.approx(turns, abs=TOLERANCE)
    history = TALK.prefix(3)
    assert model.score_candidates(history, ["Yes, it is."])[0] == pytest.approx(turns[1], abs=TOLERANCE)


def test_a_new_head_is_read_at_the_closing_token_if_another_can_pad(language_checkpoint, make_tokenizer, caplog):
    path = language_checkpoint()
    make_tokenizer(pad_token="<|end|>").save_pretrained(path)

    def contract(**choices):
        return load_checkpoint(path, dtype=torch.float32, head_seed=0, **choices).tokens.contract

    assert (contract().read_at, contract().pad_token_id) == ("last", 0)
    assert "the pad token is <|pad|>; its tokenizer names <|end|>" in caplog.text
    asked = contract(read_at="last_non_pad")
    assert (asked.read_at, asked.pad_token_id) == ("last_non_pad", END)
    with pytest.raises(ContractError, match="read at EOS, but the tokenizer has no EOS token"):
        contract(read_at="eos")


ENDINGS = {"a newline": CHATML, "several newlines": CHATML + "\n \n\n", "EOS": None, "text": PLAIN_END}
REPLIES = [
    TALK,
    Conversation().user(" A plan?\n").assistant("To walk.\n\n"),
    Conversation().user("Hi!").assistant("Ho. \n <|end|>\n\n"),
]


@pytest.mark.parametrize("template", ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("pad", [0, END])
def test_a_model_of_openrlhf_is_read_at_eos(checkpoint, tmp_path, monkeypatch, caplog, template, pad):
    caplog.set_level(logging.WARNING)
    path = checkpoint(
        template, eos_token="<|end|>", pad_token_id=pad, normalize_reward=False, value_head_prefix="score"
    )
    model = RewardModel.from_pretrained(path, device="cpu")
    tokenizer = AutoTokenizer.from_pretrained(path)
    own = [openrlhf_reward.token_ids(monkeypatch, tokenizer, talk) for talk in REPLIES]
    assert [encoding.ids for encoding in model.tokens.encode_all(REPLIES)] == own
    expected = [openrlhf_reward.reward(monkeypatch, path, ids) for ids in own]
    assert model.score(REPLIES) == pytest.approx(expected, abs=TOLERANCE)
    assert "the reward is read at EOS, <|end|> (as OpenRLHF reads)" in caplog.text
    assert model.contract.read_at == "eos"
    model.save_pretrained(tmp_path)
    again = RewardModel.from_pretrained(tmp_path, device="cpu")
    assert again.contract == model.contract
    assert again.score(REPLIES) == pytest.approx(expected, abs=TOLERANCE)
    assert [vanilla(tmp_path, talk, 200) for talk in REPLIES] == pytest.approx(expected, abs=TOLERANCE)


def test_rewards_by_turn_at_eos_are_those_of_cut_conversations_or_refused(checkpoint):
    model = RewardModel.from_pretrained(checkpoint(CHATML, eos_token="<|end|>"), device="cpu", read_at="eos")
    cut = [TALK.prefix(end) for end in TALK.turn_ends]
    assert model.score_turns([TALK])[0] == pytest.approx(model.score(cut), abs=TOLERANCE)
    added = RewardModel.from_pretrained(checkpoint(PLAIN_END, eos_token="<|end|>"), device="cpu", read_at="eos")
    assert len(added.score(cut)) == 2
    with pytest.raises(ContractError, match="renders a history differently"):
        added.score_turns([TALK])


def test_the_place_of_openrlhf_can_be_overruled(checkpoint):
    path = checkpoint(CHATML, eos_token="<|end|>", normalize_reward=True)
    model = RewardModel.from_pretrained(path, device="cpu", read_at="last")
    assert model.contract.read_at == "last"
    assert model.score([TALK])[0] == pytest.approx(vanilla(path, TALK), abs=TOLERANCE)
