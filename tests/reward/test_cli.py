import json

import orjson
import pytest
import typer
from typer.testing import CliRunner

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.pairs import PreferencePair
from music.preferences import write_preferences
from music.reward import ContractError, RewardModel, read_rewards
from music.reward.cli import score

APP = typer.Typer()
APP.command()(score)


def run(*arguments):
    result = CliRunner().invoke(APP, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result


@pytest.fixture(scope="module")
def checkpoint(reward_checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("rm")
    RewardModel.from_pretrained(reward_checkpoint(), device="cpu").save_pretrained(path)
    return path


@pytest.fixture
def conversations(make_conversation):
    return [make_conversation(seed) for seed in range(4)]


def write_conversations(path, conversations):
    path.write_text("".join(json.dumps({"messages": c.to_messages()}) + "\n" for c in conversations))
    return path


def test_scores_conversations_one_a_line(checkpoint, conversations, tmp_path):
    expected = RewardModel.from_pretrained(checkpoint)(conversations)
    lines = run(checkpoint, write_conversations(tmp_path / "c.jsonl", conversations)).stdout.splitlines()
    assert lines[:4] == [f"{index}: {reward:.4f}" for index, reward in enumerate(expected)]
    assert lines[4] == "conversations truncated: 0, without a score: none"


def test_scores_every_turn(checkpoint, conversations, tmp_path):
    file = write_conversations(tmp_path / "c.jsonl", conversations)
    report = orjson.loads(run(checkpoint, file, "--per-turn", "--json").stdout)
    expected = RewardModel.from_pretrained(checkpoint).score_turns(conversations)
    assert [row["turns"] for row in report["rows"]] == [pytest.approx(turns, abs=1e-5) for turns in expected]
    assert [row["score"] for row in report["rows"]] == pytest.approx([turns[-1] for turns in expected], abs=1e-5)


def test_ranks_pairs_and_writes_rows(checkpoint, make_conversation, tmp_path):
    pairs = [
        PreferencePair(id=f"p{seed}", chosen=make_conversation(seed), rejected=make_conversation(seed + 100))
        for seed in range(10)
    ]
    write_preferences(pairs, tmp_path / "pairs.jsonl")
    result = run(checkpoint, tmp_path / "pairs.jsonl", "--per-turn", "--out", tmp_path / "scores.jsonl", "--json")
    model = RewardModel.from_pretrained(checkpoint)
    margins = [c - r for c, r in zip(model([p.chosen for p in pairs]), model([p.rejected for p in pairs]), strict=True)]
    report = orjson.loads(result.stdout)
    assert report["accuracy"] == sum(margin > 0 for margin in margins) / 10
    assert report["mean_margin"] == pytest.approx(sum(margins) / 10, abs=1e-5)
    assert report["accuracy_by_turn"][-1] == report["accuracy"]
    assert report["num_ranked_by_turn"] == [10, 10, 10]
    rows = [orjson.loads(line) for line in (tmp_path / "scores.jsonl").read_bytes().splitlines()]
    assert [row["id"] for row in rows] == [pair.id for pair in pairs]
    assert [row["chosen"]["score"] - row["rejected"]["score"] for row in rows] == pytest.approx(margins, abs=1e-5)


def test_turns_that_both_sides_share_are_not_ranked(checkpoint, make_conversation, tmp_path):
    shared, other = make_conversation(1, num_turns=2), make_conversation(5, num_turns=2)
    pairs = [
        PreferencePair(
            id="a", chosen=shared.user("Go on.").assistant("A."), rejected=shared.user("Go on.").assistant("B.")
        ),
        PreferencePair(id="b", chosen=shared, rejected=other),
    ]
    write_preferences(pairs, tmp_path / "pairs.jsonl")
    report = orjson.loads(run(checkpoint, tmp_path / "pairs.jsonl", "--per-turn", "--json").stdout)
    assert report["num_ranked_by_turn"] == [1, 1, 1]
    write_preferences(pairs[:1], tmp_path / "pairs.jsonl")
    report = orjson.loads(run(checkpoint, tmp_path / "pairs.jsonl", "--per-turn", "--json").stdout)
    assert report["num_ranked_by_turn"] == [0, 0, 1]
    assert report["accuracy_by_turn"] == [None, None, report["accuracy"]]


def test_what_has_no_score_or_was_cut_is_told(checkpoint, conversations, make_conversation, tmp_path):
    huge = make_conversation(1).user("More.").assistant("walk " * 600)
    long = make_conversation(2, num_turns=40)
    file = write_conversations(tmp_path / "c.jsonl", [conversations[0], huge, long])
    lines = run(checkpoint, file).stdout.splitlines()
    assert lines[1] == "1: no score (over_long)"
    assert lines[3] == "conversations truncated: 1, without a score: 1 over_long"
    report = orjson.loads(run(checkpoint, file, "--json").stdout)
    assert (report["num_truncated"], report["num_unscorable"]) == (1, {"over_long": 1})
    assert report["rows"][1] == {"index": 1, "score": None, "num_dropped_turns": 0, "problem": "over_long"}


def test_pairs_that_tie_were_cut_or_have_no_score_are_counted(checkpoint, make_conversation, tmp_path):
    fine, other = make_conversation(1), make_conversation(3)
    huge = fine.user("More.").assistant("walk " * 600)
    long = make_conversation(2, num_turns=40)
    differs_where_it_is_cut = Conversation(messages=other.messages[:2] + long.messages[2:])
    sides = [(fine, other), (fine, huge), (huge, other), (long, differs_where_it_is_cut)]
    pairs = [PreferencePair(id=f"p{i}", chosen=c, rejected=r) for i, (c, r) in enumerate(sides)]
    write_preferences(pairs, tmp_path / "pairs.jsonl")
    report = orjson.loads(run(checkpoint, tmp_path / "pairs.jsonl", "--json").stdout)
    chosen, rejected = RewardModel.from_pretrained(checkpoint)([fine, other])
    assert (report["num_pairs"], report["num_ranked"], report["num_ties"]) == (4, 2, 1)
    assert report["accuracy"] == (chosen > rejected) / 2
    assert (report["num_truncated"], report["num_unscorable"]) == (1, {"over_long": 2})
    text = run(checkpoint, tmp_path / "pairs.jsonl").stdout
    assert "num_ties: 1" in text
    assert "pairs truncated: 1, without a score: 2 over_long" in text


@pytest.mark.parametrize("readout", ["turn_mean", "turn_min", "end_weighted"])
def test_the_readout_of_the_contract_is_kept_and_said(checkpoint, conversations, tmp_path, readout):
    model = RewardModel.from_pretrained(checkpoint).with_readout(readout)
    model.save_pretrained(tmp_path / "rm")
    file = write_conversations(tmp_path / "c.jsonl", conversations)
    report = orjson.loads(run(tmp_path / "rm", file, "--per-turn", "--json").stdout)
    assert report["readout"] == readout
    scores = model.score(conversations)
    assert [row["score"] for row in report["rows"]] == pytest.approx(scores, abs=1e-5)
    assert [read_rewards(readout, row["turns"]) for row in report["rows"]] == pytest.approx(scores, abs=1e-5)


def test_a_model_without_a_template_takes_one_and_says_where_its_reward_is(
    reward_checkpoint, make_tokenizer, conversations, tmp_path
):
    path = reward_checkpoint()
    tokenizer = make_tokenizer(None)
    (path / "chat_template.jinja").unlink()
    tokenizer.eos_token = "<|end|>"
    tokenizer.save_pretrained(path)
    file = write_conversations(tmp_path / "c.jsonl", conversations)
    result = run(path, file, "--chat-template", "zephyr", "--read-at", "eos", "--json")
    assert "reward read at EOS, <|end|> (as OpenRLHF reads)" in result.stderr
    report = orjson.loads(result.stdout)
    assert report["read_at"] == "eos"
    model = RewardModel.from_pretrained(path, device="cpu", chat_template="zephyr", read_at="eos")
    assert [row["score"] for row in report["rows"]] == pytest.approx(model.score(conversations), abs=1e-5)
    with pytest.raises(ContractError, match="has no chat template: name one with --chat-template"):
        run(path, file)
    with pytest.raises(InvalidInputError, match=r"'zephir': expected a file, or one of .*; did you mean 'zephyr'"):
        run(path, file, "--chat-template", "zephir")
