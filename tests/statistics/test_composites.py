import math

import numpy as np
import pytest
from scipy.stats import binom

from music.errors import InvalidInputError
from music.statistics import Component, composite, mean, spearman, weighted_sum


def part(values, clusters=None):
    values = np.asarray(values, dtype=np.float64)
    return Component(values, np.arange(len(values)) if clusters is None else np.asarray(clusters))


def test_one_part_agrees_with_the_estimate_of_a_mean():
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=60), (rng.random(400) < 0.7).astype(float)):  # drawn one by one, and by number
        clusters = np.arange(len(values)) // 2
        alone, ours = mean(values, clusters=clusters), weighted_sum([part(values, clusters)], [1.0])
        assert (ours.value, ours.num) == (pytest.approx(alone.value), alone.num)
        assert (ours.low, ours.high) == pytest.approx((alone.low, alone.high), abs=0.02)


def test_independent_parts_add_their_variances():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=400), rng.normal(5, 2, size=400)
    estimate = weighted_sum([part(first), part(second, np.arange(400, 800))], [0.25, 0.75])
    spread = math.sqrt((0.25**2 * first.var() + 0.75**2 * second.var()) / 400)
    assert estimate.value == pytest.approx(0.25 * first.mean() + 0.75 * second.mean())
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * spread, rel=0.1)
    assert estimate.num == 800


def test_parts_that_share_prompts_move_together():
    values = np.random.default_rng(2).normal(size=300)
    both = weighted_sum([part(values), part(values)], [0.5, 0.5])
    alone = weighted_sum([part(values)], [1.0])
    assert (both.low, both.high, both.num) == pytest.approx((alone.low, alone.high, 300))
    difference = weighted_sum([part(values), part(values)], [1.0, -1.0])
    assert (difference.value, difference.has_interval) == (pytest.approx(0.0), False)


def test_few_prompts_cover_the_truth_as_often_as_many():
    rng, num = np.random.default_rng(0), 300
    covered = sum(weighted_sum([part(rng.normal(size=5))], [1.0], seed=n).includes(0.0) for n in range(num))
    assert binom.ppf(0.005, num, 0.92) <= covered  # plain percentiles: 82 of 100


def test_parts_that_never_vary_show_no_spread():
    assert not weighted_sum([part([0.4] * 4), part([0.3] * 9, np.arange(4, 13))], [0.5, 0.5]).has_interval


def test_hits_alone_have_about_the_exact_interval():
    alone = weighted_sum([part([1.0] * 100)], [1.0])
    assert (alone.value, alone.high) == (1.0, 1.0)
    assert alone.low == pytest.approx(0.025 ** (1 / 100), abs=0.004)  # Clopper and Pearson's
    equal = weighted_sum([part([1.0] * 100), part([1.0] * 100)], [1.0, -1.0])
    assert -0.05 < equal.low < -0.02 < 0.02 < equal.high < 0.05
    better = weighted_sum([part([1.0] * 9), part([0.0] * 9)], [1.0, -1.0])
    assert 0.1 < better.low < 0.6


def test_any_statistic_of_the_means():
    low, high = part([0.0, 0.2] * 40), part([0.9, 1.0] * 40)
    estimate = composite([low, high], lambda means: means.max(axis=1))
    assert estimate.value == pytest.approx(0.95)
    assert 0.9 < estimate.low < 0.95 < estimate.high < 1.0


def test_drawing_by_number_is_drawing_one_by_one():
    hits = (np.random.default_rng(3).random(600) < 0.3).astype(float)
    by_number = weighted_sum([part(hits)], [1.0])
    one_by_one = weighted_sum([part(hits + np.linspace(0, 1e-9, 600))], [1.0])  # no two values alike
    assert (by_number.low, by_number.high) == pytest.approx((one_by_one.low, one_by_one.high), abs=0.01)


def test_a_part_of_one_unit_leaves_the_interval_open():
    estimate = weighted_sum([part([1.0, 0.0, 1.0]), part([1.0, 1.0], [7, 7])], [0.5, 0.5])
    assert (estimate.low, estimate.high) == (-math.inf, math.inf)
    assert estimate.value == pytest.approx((2 / 3 + 1) / 2)


def test_resamples_that_lack_a_part_are_not_counted():
    estimate = weighted_sum([part(np.full(10, 0.25)), part([0.0, 1.0], [0, 1])], [1.0, 1.0])
    assert estimate.value == 0.75
    assert (estimate.low, estimate.high) == (0.25, 1.25)


def test_same_seed_same_interval():
    values = part(np.random.default_rng(0).normal(size=30))
    assert weighted_sum([values], [1.0], seed=3) == weighted_sum([values], [1.0], seed=3)
    assert weighted_sum([values], [1.0], seed=3) != weighted_sum([values], [1.0], seed=4)


def test_equal_values_share_their_rank():
    assert spearman([3.0, 1.0, 3.0, 7.0, 1.0], [3.5, 1.5, 3.5, 5.0, 1.5]).value == pytest.approx(1.0)


def test_a_worked_example_of_a_rank_correlation():
    iq, hours = [106, 100, 86, 101, 99, 103, 97, 113, 112, 110], [7, 27, 2, 50, 28, 29, 20, 12, 6, 17]
    assert spearman(iq, hours).value == pytest.approx(-29 / 165)


def test_any_growing_function_correlates_fully():
    values = np.random.default_rng(0).normal(size=50)
    estimate = spearman(values, np.exp(3 * values))
    assert (estimate.value, estimate.has_interval) == (pytest.approx(1.0), False)
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
        ([1.0, 1.0], [1.0, 2.0], "values that differ as the first side, got 2 equal ones"),
        ([1.0, 2.0], [1.0, float("nan")], "finite numbers"),
        ([1.0, 2.0, 3.0], [1.0, 2.0], "one length, got 3 and 2"),
    ],
)
def test_what_cannot_be_ranked_is_refused(first, second, message):
    with pytest.raises(InvalidInputError, match=message):
        spearman(first, second)
