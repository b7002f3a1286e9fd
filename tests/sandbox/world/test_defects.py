from collections import Counter

import orjson
import pytest

from music.cli import main
from music.conversation import Conversation
from music.sandbox.world.defects import DEFECT_KINDS, MEMORY_GROUPS, defect_rows, draw_defects, first_turn
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


@pytest.mark.parametrize("kind", MEMORY_GROUPS["memory"])
def test_an_error_that_depends_on_earlier_turns_is_the_only_difference(kind):
    for turn in range(first_turn(kind), 5):
        for defect in draw_defects(kind, turn, 5, 4, seed=3):
            sides = defect.pair.chosen, defect.pair.rejected
            chosen, rejected = ([grade.errors for grade in grade_turns(side)] for side in sides)
            assert rejected[turn] == (kind,)
            assert [number for number in range(5) if chosen[number] != rejected[number]] == [turn]
            wrong = [number for number in range(5) if chosen[number]]
            assert wrong == ([turn - 1] if kind is ErrorKind.CORRECTION else [])
            differs = [one != other for one, other in zip(*(side.messages for side in sides), strict=True)]
            assert differs == [number == 2 * turn + 1 for number in range(10)]


@pytest.mark.parametrize(("kind", "turn"), [(ErrorKind.STEP, 0), (ErrorKind.CONTRADICTION, 1), (ErrorKind.TOPIC, 3)])
def test_a_turn_that_cannot_have_the_error_is_refused(kind, turn):
    with pytest.raises(ValueError, match=f"expected a turn from {first_turn(kind)} to 2 for a defect of {kind}"):
        draw_defects(kind, turn, 3, 1, seed=0)


def test_rows_for_users_with_memory_are_added_to_the_others():
    rows, others = list(defect_rows(1, 3, 4, memory=True)), list(defect_rows(1, 3, 4))
    assert rows[: len(others)] == others
    assert Counter(row["kind"] for row in rows[len(others) :]) == {"contradiction": 1, "correction": 2, "step": 2}


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
