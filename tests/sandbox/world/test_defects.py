from collections import Counter

import orjson
import pytest

from music.cli import main
from music.conversation import Conversation
from music.sandbox.world.defects import DEFECT_KINDS, defect_rows
from music.sandbox.world.oracle import ErrorKind, grade_turns
from music.sandbox.world.seeds import turn_label_rows


def run(*args):
    with pytest.raises(SystemExit) as caught:
        main(["sandbox", *map(str, args)])
    return caught.value.code or 0


def read(path):
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def test_every_defect_is_the_one_that_its_row_names():
    rows = list(defect_rows(2, 3, seed=4))
    assert Counter(row["kind"] for row in rows) == {
        kind: 4 if kind is ErrorKind.RECOLLECTION else 6 for kind in DEFECT_KINDS
    }
    for row in rows:
        chosen, rejected = (Conversation.from_messages(row[side]) for side in ("chosen", "rejected"))
        assert not any(each.errors for each in grade_turns(chosen))
        assert [error for each in grade_turns(rejected) for error in each.errors] == [row["kind"]]
        assert sum(one != other for one, other in zip(chosen.messages, rejected.messages, strict=True)) == 1


def test_labels_are_the_oracles_grades():
    rows = list(turn_label_rows(20, 4, seed=1))
    for row in rows:
        graded = {each.turn: each.score for each in grade_turns(Conversation.from_messages(row["messages"]))}
        assert row["labels"] == [pytest.approx(graded[turn]) if turn in graded else None for turn in range(4)]
    assert {label == 1 for row in rows for label in row["labels"]} == {True, False}


def test_the_commands_write_the_same_rows_each_time(tmp_path, capsys):
    assert run("defects", "--out", tmp_path / "defects.jsonl", "--num", 1, "--turns", 2, "--json") == 0
    assert orjson.loads(capsys.readouterr().out)["num_pairs"] == 13
    assert [row["id"] for row in read(tmp_path / "defects.jsonl")] == [row["id"] for row in defect_rows(1, 2, 0)]
    assert run("turn-labels", "--out", tmp_path / "turns.jsonl", "--num", 3, "--turns", 2, "--seed", 5) == 0
    assert read(tmp_path / "turns.jsonl") == list(turn_label_rows(3, 2, 5))
