"""The files of the real-text experiment: which pairs they hold, from made-up data."""

import gzip
import json
import tomllib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import real_text
from benchmarks.real_text_defects import KINDS, draw_defects, truncated, worse_replies
from benchmarks.real_text_votes import read_matches, winners
from music import Conversation
from music.errors import InvalidInputError
from music.evaluation.benchmarks.defects import find_defect
from music.preferences import write_rows

GRID = Path(__file__).parents[1] / "docs" / "experiments" / "real-text.toml"
UNSEEN = "gpt-3.5-turbo"
LONG = "one two  three four five six seven eight nine ten eleven twelve thirteen"


def vote(question, winner, loser, turn=1, *, is_tie=False):
    winner_name = "tie" if is_tie else "model_b"
    return {"question_id": question, "model_a": loser, "model_b": winner, "turn": turn, "winner": winner_name}


def write_mt_bench(folder, votes, *, empty=()):
    """Write two questions, the answers of four models, and votes."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(({"question_id": q, "turns": [f"Ask {q}.", "Go on."]} for q in (81, 82)), folder / "question.jsonl")
    for model in ("alpaca-13b", "gpt-4", "llama-13b", UNSEEN):
        rows = []
        for question in (81, 82):
            first = "" if (model, question) in empty else f" {model} on {question}\n"
            rows.append({"question_id": question, "model_id": model, "choices": [{"turns": [first, f"{model} again"]}]})
        write_rows(rows, folder / f"answer_{model}.jsonl")
    write_rows(votes, folder / "votes_human.jsonl")


def test_a_majority_has_more_votes_for_a_model_than_for_the_other():
    votes = {
        ("1", "a", "b", 1): {"a": 1, "": 5},
        ("2", "a", "b", 1): {"a": 1, "b": 2},
        ("3", "a", "b", 1): {"a": 1, "b": 1},
        ("4", "a", "b", 1): {"": 3},
    }
    assert winners(votes) == {("1", "a", "b", 1): "a", ("2", "a", "b", 1): "b"}


def test_matches_of_votes(tmp_path):
    votes = [
        vote(81, "gpt-4", "alpaca-13b"),
        vote(81, "alpaca-13b", "gpt-4"),
        vote(81, "gpt-4", "alpaca-13b"),
        vote(81, "alpaca-13b", "gpt-4", turn=2),
        vote(81, "gpt-4", UNSEEN, turn=2),
        vote(82, "gpt-4", "llama-13b"),
        vote(82, "gpt-4", "alpaca-13b", is_tie=True),
    ]
    write_mt_bench(tmp_path, votes, empty={("llama-13b", 82)})
    found = read_matches(tmp_path)
    first = found.pairs["81", "alpaca-13b", "gpt-4", 1]
    assert first.chosen == Conversation().user("Ask 81.").assistant(" gpt-4 on 81\n")  # the text is unchanged
    assert first.rejected.messages[-1].content == " alpaca-13b on 81\n"
    assert found.pairs["81", UNSEEN, "gpt-4", 2].chosen.num_turns == 2
    assert found.differ == {("81", "alpaca-13b", "gpt-4", 1), ("81", "alpaca-13b", "gpt-4", 2)}
    assert found.left_out == {
        ("82", "gpt-4", "llama-13b", 1): "an empty answer",
        ("82", "alpaca-13b", "gpt-4", 1): "no majority",
    }


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (vote(81, "gpt-4", "nobody"), "'nobody'"),
        (vote(99, "gpt-4", "alpaca-13b"), "question 99"),
        (vote(81, "gpt-4", "alpaca-13b") | {"winner": "gpt-4"}, "winner"),
        (vote(81, "gpt-4", "alpaca-13b", turn=3), "turn"),
    ],
)
def test_a_bad_vote_is_named(tmp_path, bad, fault):
    write_mt_bench(tmp_path, [vote(81, "gpt-4", "alpaca-13b"), bad])
    with pytest.raises(InvalidInputError, match=f"votes_human.jsonl, line 2: .*{fault}"):
        read_matches(tmp_path)


def test_half_of_the_words_of_a_long_reply_are_kept():
    assert truncated(LONG) == "one two  three four five six"
    assert truncated("one two three four five six seven eight nine ten eleven") == ""


def test_worse_replies_of_each_turn():
    dialogue = Conversation().user("a").assistant("First.").user("b").assistant(LONG)
    swapped = Conversation().user("a").assistant("Other.").user("b").assistant(LONG)
    assert worse_replies(dialogue, swapped) == {
        "swap": ["Other.", LONG],
        "repeat": ["", "First."],
        "truncate": ["", "one two  three four five six"],
    }


def test_a_defect_is_in_one_turn_of_the_rejected_side():
    dialogue = Conversation()
    for turn in range(4):
        dialogue = dialogue.user(f"Ask {turn}.").assistant(f"{LONG} {turn}")
    swapped = Conversation().user("Ask 0.").assistant("Other.").user("Ask 1.").assistant("Different.")
    dialogues = {str(number): dialogue for number in range(30)} | {"short": dialogue.prefix(2)}
    drawn = list(draw_defects(dialogues, {"0": swapped}, 0))
    assert drawn == list(draw_defects(dialogues, {"0": swapped}, 0))
    pairs = {pair.id: pair for _, pair in drawn if pair is not None}
    assert len(pairs) == 2 * 30 + 1  # without the dialogue of one turn, and swaps only where there is one
    assert all(pair.chosen == dialogue for pair in pairs.values())
    turns = {kind: {find_defect(pair) for pair in pairs.values() if pair.source == kind} for kind in KINDS}
    assert turns["repeat"] == {1, 2, 3}
    assert turns["truncate"] == {0, 1, 2, 3}


def write_data(folder):
    """Write a small version of all public files."""
    votes = [
        vote(81, "gpt-4", "alpaca-13b"),
        vote(81, "alpaca-13b", "gpt-4", turn=2),
        vote(82, UNSEEN, "gpt-4"),
        vote(82, UNSEEN, "gpt-4", turn=2),
    ]
    write_mt_bench(folder / "mt_bench", votes)
    text = "\n\nHuman: Hello {}.\n\nAssistant: {}"
    with gzip.open(folder / real_text.HH, "wt") as file:
        for number in range(3):
            row = {"chosen": text.format(number, "Good."), "rejected": text.format(number, "Bad." * (number > 0))}
            file.write(json.dumps(row) + "\n")
    asked = [{"role": "user", "content": "Sum?"}]
    sides = ([*asked, {"role": "assistant", "content": word}] for word in ("4", "5 " * 2000))
    pq.write_table(
        pa.Table.from_pylist([dict(zip(("chosen", "rejected"), sides, strict=True))]), folder / real_text.DPO_EN_DEMO
    )
    rows = []
    for number in range(24):
        words = [f"topic{number % 3} plan{turn} way{number} word{number + turn}" for turn in range(3)]
        history = [{"user": f"Tell me of {w}", "bot": f"It is {w}. {LONG}"} for w in words]
        rows.append({"id": number, "history": history})
    write_rows(rows, folder / real_text.DIALOGUES)


def test_all_files_of_the_grid_are_made(tmp_path, monkeypatch, language_checkpoint, capsys):
    write_data(tmp_path)
    base, out = language_checkpoint(), tmp_path / "data"
    with pytest.raises(InvalidInputError, match=r"expected 120 matches .* got 1: "):
        list(real_text.preferences(tmp_path))
    monkeypatch.setattr(real_text, "DIFFERENT_WINNERS", 1)
    flags = ["--data", str(tmp_path), "--base", str(base), "--out", str(out)]
    real_text.main(flags)
    printed = capsys.readouterr().out
    files = {path.stem: path.read_bytes() for path in out.glob("*.jsonl")}
    real_text.main(flags)
    assert capsys.readouterr().out == printed
    assert {path.stem: path.read_bytes() for path in out.glob("*.jsonl")} == files

    grid = tomllib.loads(GRID.read_text(encoding="utf-8"))
    asked = [file for table in ("sources", "measures") for each in grid[table].values() for file in each["files"]]
    assert {Path(file).stem for file in asked} == files.keys()
    cells = {line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ") for line in printed.splitlines()}
    assert cells["hh"][1] == "2"
    assert cells["hh"][-1] == "1 empty text"
    assert cells["dpo-en-demo"][1:3] == ["0", "0"]
    assert cells["dpo-en-demo"][-1] == "1 over long"
    assert [cells[name][1] for name in ("votes", "turn2-unseen", "turn2-all", "turn2-differs")] == ["1", "1", "2", "1"]
    assert cells["single"][1] == "3"  # one match with a model held out, and two of `hh`


def test_swaps_and_defects_have_different_dialogues(tmp_path):
    write_data(tmp_path)
    files = {file.name: file.pairs for file in real_text.dialogues(tmp_path, tmp_path / "data")}
    assert [pair.chosen for pair in files["swap-all"]] == [pair.chosen for pair in files["swap-last"]]
    trained = {pair.chosen for pair in files["swap-all"]}
    assert trained
    assert trained.isdisjoint(pair.chosen for pair in files["defects"])
    assert {find_defect(pair) for pair in files["swap-last"]} == {2}
    assert {pair.source for pair in files["defects"]} == set(KINDS)
    assert len({pair.id for pair in files["defects"]}) == len(files["defects"]) > 24
