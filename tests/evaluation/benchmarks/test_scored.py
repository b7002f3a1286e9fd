import math

import numpy as np
import pytest

from music.errors import InvalidInputError
from music.evaluation.benchmarks.scored import ScoredItems
from music.evaluation.benchmarks.types import Item


def item(id_, prompt=None, num=2):
    labels = (1.0,) + (0.0,) * (num - 1)
    return Item(id=id_, subset="s", completions=(None,) * num, labels=labels, prompt_id=prompt or id_)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({"a": (1.0, 0.0)}, "item 'b': expected its scores, got none"),
        ({"a": (1.0, 0.0), "b": (1.0,)}, "item 'b': expected 2 scores, one per completion, got 1"),
        ({"a": (1.0, 0.0), "b": (1.0, math.nan)}, "item 'b': expected finite scores, got nan"),
        ({"a": (math.inf, 0.0), "b": (1.0, 0.0)}, "item 'a': expected finite scores, got inf"),
    ],
)
def test_scores_that_are_missing_or_no_numbers_are_refused(scores, said):
    with pytest.raises(InvalidInputError, match=said):
        ScoredItems([item("a"), item("b")], scores)


def test_a_hit_beats_all_others_strictly():
    items = [item("a"), item("b"), item("c", num=3), item("d", num=3)]
    scores = {"a": (2.0, 1.0), "b": (1.0, 1.0), "c": (3.0, 2.0, 1.0), "d": (3.0, 2.0, 4.0)}
    assert ScoredItems(items, scores).hits.tolist() == [1.0, 0.0, 1.0, 0.0]


def test_chance_follows_the_number_of_completions():
    scored = ScoredItems([item("a"), item("b", num=4)], {"a": (1.0, 0.0), "b": (1.0, 0.0, 0.0, 0.0)})
    assert scored.accuracy("all", scored.places).chance == pytest.approx((1 / 2 + 1 / 4) / 2)


def test_a_clean_sweep_is_no_certainty():
    won = {str(n): (1.0, 0.0) for n in range(20)}
    alone = ScoredItems([item(id_) for id_ in won], won)
    shared = ScoredItems([item(id_, prompt=str(int(id_) // 2)) for id_ in won], won)
    lows = [scored.accuracy("all", scored.places).estimate.low for scored in (alone, shared)]
    assert 0.8 < lows[0] < 0.9  # Wilson's for 20 of 20
    assert lows[1] < lows[0]  # and for 10 of 10


def test_figures_without_variation_between_completions_say_so():
    scored = ScoredItems([item("a"), item("b")], {"a": (1.0, 1.0), "b": (2.0, 2.0)})
    note = scored.accuracy("all", scored.places).note
    assert note == "2 ties, counted as missed; the scores of each item are all the same"
    assert scored.accuracy("none", None).note == "missing: no rows"
    assert np.array_equal(scored.hits, [0.0, 0.0])
