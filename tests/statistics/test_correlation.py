import numpy as np
import pytest

from music.errors import InvalidInputError
from music.statistics import spearman
from music.statistics.correlation import ranks


def test_equal_values_share_their_ranks():
    assert ranks([3.0, 1.0, 3.0, 7.0, 1.0]).tolist() == [3.5, 1.5, 3.5, 5.0, 1.5]


def test_a_worked_example():
    iq, hours = [106, 100, 86, 101, 99, 103, 97, 113, 112, 110], [7, 27, 2, 50, 28, 29, 20, 12, 6, 17]
    assert spearman(iq, hours).value == pytest.approx(-29 / 165)


def test_any_growing_function_correlates_fully():
    values = np.random.default_rng(0).normal(size=50)
    estimate = spearman(values, np.exp(3 * values))
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((1.0, 1.0, 1.0))
    assert spearman(values, -values).value == pytest.approx(-1.0)


def test_the_interval_agrees_with_the_known_one_for_unrelated_values():
    estimate = spearman(*np.random.default_rng(1).normal(size=(2, 400)))
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 / np.sqrt(399), rel=0.12)


def test_the_interval_covers_no_relation_as_often_as_it_says():
    rng = np.random.default_rng(2)
    assert 88 <= sum(spearman(*rng.normal(size=(2, 60))).includes(0.0) for _ in range(100)) <= 99


def test_copies_of_a_conversation_add_nothing():
    first, second = np.random.default_rng(3).normal(size=(2, 60))
    alone = spearman(first, second)
    copied = spearman(np.repeat(first, 5), np.repeat(second, 5), clusters=np.repeat(np.arange(60), 5))
    assert (copied.value, copied.num) == (pytest.approx(alone.value), 60)
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high), abs=0.03)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([1.0, 1.0], [1.0, 2.0], "values that differ as the first side, got 2 alike"),
        ([1.0, 2.0], [1.0, float("nan")], "finite numbers"),
        ([1.0, 2.0, 3.0], [1.0, 2.0], "one length, got 3 and 2"),
    ],
)
def test_what_cannot_be_ranked_is_refused(first, second, message):
    with pytest.raises(InvalidInputError, match=message):
        spearman(first, second)
