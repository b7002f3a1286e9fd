import csv

import pytest

from music.errors import InvalidInputError
from music.evaluation import load_benchmark, read_benchmark

HISTORY = "USER:\nRemember 7.\nASSISTANT:\nYes.\n\nSure: USER: fine.\nUSER:\nWhich number?"


@pytest.fixture
def read_results(tmp_path):
    """Write the detailed results of models as CSV, and read them."""

    def read(**models):
        paths = []
        for name, rows in models.items():
            path = tmp_path / f"{name}.csv"
            with path.open("w", newline="") as file:
                columns = ["question_id", "axis", "original_conversation", "attempt_number", "model_response", "passed"]
                writer = csv.writer(file)
                writer.writerows([columns, *rows])
            paths.append(str(path))
        return read_benchmark(load_benchmark("multichallenge"), paths)

    return read


def result(question, axis, reply, passed, attempt=1):
    return [question, axis, HISTORY, attempt, reply, passed]


def test_replies_that_pass_are_compared_with_those_that_fail(read_results, values):
    items = read_results(
        one=[
            result("q1", "MEMORY", "7", "PASSED"),
            result("q2", "EDITING", "7", "PASSED"),
            result("q3", "EDITING", "7", "PASSED"),
        ],
        two=[
            result("q1", "MEMORY", "8", "FAILED"),
            result("q2", "EDITING", "8", "FAILED"),
            result("q3", "EDITING", "N/A", "FAILED"),
        ],
        three=[result("q1", "MEMORY", "9", "FAILED")],
    )
    assert [message.content for message in items.items[0].completions[0].messages] == [
        *("Remember 7.", "Yes.\n\nSure: USER: fine.", "Which number?", "7")
    ]
    assert [row.reason for row in items.rejected] == ["no reply"]
    scores = {
        "one/q1/1": [1.0],
        "two/q1/1": [0.0],
        "three/q1/1": [2.0],
        "one/q2/1": [3.0],
        "two/q2/1": [1.0],
        "one/q3/1": [0.0],
    }
    found = values(items, scores)
    assert (found["axes", "MEMORY"], found["axes", "EDITING"], found["overall", "overall"]) == (0.5, 1.0, 0.75)
    assert found["turns", "2 turns"] == 0.75


def test_a_conversation_that_is_no_transcript_is_named(read_results):
    row = result("q1", "MEMORY", "7", "PASSED")
    row[2] = "Remember 7."
    with pytest.raises(InvalidInputError, match=r"one.csv, .*original_conversation: expected messages after lines"):
        read_results(one=[row])
