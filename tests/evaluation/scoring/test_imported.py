import json

import pytest

from music.errors import InvalidInputError
from music.evaluation.benchmarks.types import ItemSet
from music.evaluation.scoring import score_items
from music.evaluation.scoring.imported import import_scores

A, B = {"id": "fruit/0", "scores": [3, 2.5, 1]}, {"id": "fruit/2", "scores": [0, 1, 2]}


@pytest.fixture
def read(make_items, tmp_path):
    """Import the scores of rows, for three items with three completions."""

    def read(*rows):
        path = tmp_path / "mine.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return import_scores(path, make_items(3))

    return read


def test_the_order_is_free_and_items_may_be_missing(read):
    found = read(B, A)
    assert found.rows["fruit/0"].scores == (3.0, 2.5, 1.0)
    assert [id for id, row in found.rows.items() if row.problem] == ["fruit/1"]
    assert found.header.description == "scores of 2 of 3 items, computed elsewhere"


def test_a_file_of_an_earlier_run_can_be_imported_for_other_texts(make_items, make_scored_model, tmp_path):
    kept = score_items(make_items(3), make_scored_model(), tmp_path / "scores.jsonl")
    others = ItemSet("fruit", make_items(3, num_characters=200).items)
    assert import_scores(tmp_path / "scores.jsonl", others).rows == kept.rows


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (A, "line 2, id: expected each id once, got 'fruit/0', which line 1 has too"),
        (B | {"id": "fruit/9"}, "line 2, id: expected the id of an item .* such as 'fruit/0', got 'fruit/9'"),
        (B | {"scores": [1, 2]}, "line 2, scores: expected a list of 3 scores, .* got 2 of them"),
        (B | {"scores": [1, None, 2]}, r"line 2, scores\[1\]: expected a finite number, got None"),
        (B | {"scores": [1, True, 2]}, r"line 2, scores\[1\]: expected a finite number, got True"),
        ({"scores": [1, 2, 3]}, "line 2, id: expected text or a whole number, got no such field"),
        ([1, 2], "line 2"),
    ],
)
def test_a_bad_row_is_named(read, row, said):
    with pytest.raises(InvalidInputError, match=rf"mine.jsonl, {said}"):
        read(A, row)
