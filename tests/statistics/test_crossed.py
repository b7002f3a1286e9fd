import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from music.errors import InvalidInputError
from music.statistics import crossed_difference, crossed_mean, crossed_proportion, mean, paired_difference, proportion


def crossed(rng, num_seeds=5, num_items=80, seed_spread=0.3, item_spread=0.5, rest=0.2):
    by_seed, by_item = rng.normal(scale=seed_spread, size=(num_seeds, 1)), rng.normal(scale=item_spread, size=num_items)
    return 1.0 + by_seed + by_item + rng.normal(scale=rest, size=(num_seeds, num_items))


def by_statsmodels(values):
    """Return the t test of the mean from the table of a two-way analysis of variance: margin and p value."""
    seeds, items = np.indices(values.shape)
    table = anova_lm(
        ols("y ~ C(s) + C(i)", pd.DataFrame({"y": values.ravel(), "s": seeds.ravel(), "i": items.ravel()})).fit()
    )
    (a, b, e), dfs = table["mean_sq"], table["df"].to_numpy()
    df = (a + b - e) ** 2 / sum(ms**2 / own for ms, own in zip((a, b, e), dfs, strict=True))
    error = math.sqrt((a + b - e) / values.size)
    return stats.t.ppf(0.975, df) * error, 2 * stats.t.sf(abs(values.mean()) / error, df)


def test_it_is_the_t_test_of_the_analysis_of_variance():
    ours, theirs = crossed(np.random.default_rng(0), num_items=12), crossed(np.random.default_rng(1), num_items=12)
    found = crossed_difference(ours, theirs)
    margin, p_value = by_statsmodels(ours - theirs)
    assert found.estimate.value == pytest.approx((ours - theirs).mean())
    assert found.estimate.high - found.estimate.value == pytest.approx(margin)
    assert found.estimate.value - found.estimate.low == pytest.approx(margin)
    assert found.p_value == pytest.approx(p_value)
    assert crossed_difference(theirs, ours).p_value == pytest.approx(p_value)


def test_seeds_that_are_more_alike_than_chance_allows_do_not_narrow_the_interval():
    rest = np.random.default_rng(2).normal(size=(3, 30))
    rest -= rest.mean(axis=1, keepdims=True)  # all seeds have the same mean: MSA is 0
    rest += np.random.default_rng(3).normal(size=30)
    columns = rest.mean(axis=0)
    msb, mse = 3 * columns.var(ddof=1), ((rest - columns) ** 2).sum() / (2 * 29)
    df = msb**2 / (mse**2 / 2 + msb**2 / 29 + mse**2 / 58)
    estimate = crossed_mean(rest)
    assert estimate.high - estimate.value == pytest.approx(stats.t.ppf(0.975, df) * math.sqrt(msb / 90))


@pytest.mark.parametrize(("num_seeds", "quantile"), [(3, 4.303), (5, 2.776), (12, 2.201)])
def test_the_interval_is_students_where_seeds_alone_differ(num_seeds, quantile):
    by_seed = np.random.default_rng(1).normal(size=num_seeds)
    estimate = crossed_mean(np.repeat(by_seed[:, None], 50, axis=1) + np.linspace(-9, 9, 50) * 1e-6)
    assert estimate.high - by_seed.mean() == pytest.approx(quantile * by_seed.std(ddof=1) / num_seeds**0.5, rel=1e-3)


@pytest.mark.parametrize("num_seeds", [2, 3, 5, 10])
@pytest.mark.parametrize(("seed_spread", "item_spread", "rest"), [(0.0, 0.5, 1.0), (0.15, 0.5, 1.0), (0.4, 0.2, 0.5)])
def test_equal_arms_are_called_different_in_at_most_five_percent(num_seeds, seed_spread, item_spread, rest):
    rng, num = np.random.default_rng(num_seeds), 200
    tables = (crossed(rng, num_seeds, 40, seed_spread, item_spread, rest) for _ in range(num))
    found = sum(crossed_difference(table, np.ones((num_seeds, 40))).p_value < 0.05 for table in tables)
    assert found <= stats.binom.ppf(0.995, num, 0.05)


def test_an_effect_of_the_printed_size_is_found_four_times_in_five():
    rng, num, found, null = np.random.default_rng(0), 150, 0, np.ones((10, 80))
    for _ in range(num):
        effect = crossed_difference(crossed(rng, 10, rest=1.0), null).minimum_detectable
        found += crossed_difference(crossed(rng, 10, rest=1.0) + effect, null).p_value < 0.05
    assert 0.7 <= found / num <= 0.9


def test_an_interval_over_conversations_alone_misses_the_truth():
    rng, covered, covered_by_items = np.random.default_rng(1), 0, 0
    for _ in range(100):
        values = crossed(rng, num_seeds=3, num_items=40)
        covered += crossed_mean(values).includes(1.0)
        covered_by_items += mean(values.mean(axis=0)).includes(1.0)
    assert covered >= 88
    assert covered_by_items < 80


def test_items_of_one_conversation_count_as_one():
    values = crossed(np.random.default_rng(2), num_items=30)
    repeated = crossed_mean(np.repeat(values, 4, axis=1), clusters=[str(i // 4) for i in range(120)])
    alone = crossed_mean(values)
    assert (repeated.value, repeated.low, repeated.high, repeated.num) == pytest.approx(
        (alone.value, alone.low, alone.high, 30)
    )


def test_conversations_of_several_sizes_weigh_by_their_items():
    estimate = crossed_mean([[1.0, 1.0, 1.0, 0.0], [0.9, 1.0, 0.8, 0.1]], clusters=["a", "a", "a", "b"])
    assert estimate.value == pytest.approx((3.0 + 2.8) / 8)


def test_a_difference_is_paired_by_seed_and_by_item():
    rng = np.random.default_rng(3)
    baseline = crossed(rng)
    ours = baseline + 0.1 + rng.normal(scale=0.05, size=baseline.shape)
    found = crossed_difference(ours, baseline)
    assert 0.08 < found.estimate.low < 0.1 < found.estimate.high < 0.12
    assert found.p_value < 1e-5


def test_what_never_varies_has_no_interval_and_the_p_value_of_the_sign_test():
    values = crossed(np.random.default_rng(4), num_items=10)
    same, better = crossed_difference(values, values), crossed_difference(np.ones((5, 10)), np.zeros((5, 10)))
    assert (same.p_value, same.estimate.has_interval, same.minimum_detectable) == (1.0, False, math.inf)
    assert (better.p_value, better.estimate.has_interval) == (pytest.approx(2 / 2**10), False)


@pytest.mark.parametrize(("alternative", "tail"), [("greater", stats.t.sf), ("less", stats.t.cdf)])
def test_a_one_sided_test_has_one_tail_beyond_a_shifted_null(alternative, tail):
    values = crossed(np.random.default_rng(7), num_items=12)
    found = crossed_difference(values, np.ones_like(values), null=-0.02, alternative=alternative)
    error = (found.estimate.high - found.estimate.value) / stats.t.ppf(0.975, found.df)
    assert found.p_value == pytest.approx(tail((values.mean() - 1 + 0.02) / error, found.df))


def test_the_two_tails_of_a_difference_add_up():
    values = crossed(np.random.default_rng(8), num_items=12)
    both, up, down = (
        crossed_difference(values, np.full_like(values, 1.1), alternative=alternative).p_value
        for alternative in ("two-sided", "greater", "less")
    )
    assert up + down == pytest.approx(1.0)
    assert both == pytest.approx(2 * min(up, down))


def test_one_seed_has_the_one_sided_paired_t_test():
    ours, theirs = np.random.default_rng(6).normal(size=(2, 1, 30))
    found = crossed_difference(ours, theirs, alternative="less")
    assert found.p_value == pytest.approx(stats.ttest_rel(ours[0], theirs[0], alternative="less").pvalue)


def test_the_same_difference_everywhere_has_a_one_sided_sign_test():
    ours, theirs = np.ones((5, 10)), np.zeros((5, 10))
    assert crossed_difference(ours, theirs, alternative="greater").p_value == pytest.approx(1 / 2**10)
    assert crossed_difference(ours, theirs, alternative="less").p_value == 1.0
    assert crossed_difference(ours, ours, null=-0.02, alternative="greater").p_value == pytest.approx(1 / 2**10)


def test_one_seed_leaves_the_test_over_the_items():
    ours, theirs = np.random.default_rng(6).normal(size=(2, 1, 30))
    found = crossed_difference(ours, theirs)
    assert found.estimate == paired_difference(ours[0], theirs[0])
    assert found.p_value == pytest.approx(stats.ttest_rel(ours[0], theirs[0]).pvalue)


def test_a_single_conversation_leaves_the_interval_open():
    found = crossed_difference([[0.4], [0.6]], [[0.0], [0.0]])
    assert (found.p_value, found.estimate.has_interval) == (1.0, False)


def test_shares_stay_within_their_bounds_and_are_never_empty():
    values = np.array([[1.0] * 9 + [0.0], [1.0] * 10])
    estimate = crossed_proportion(values)
    assert 0.0 < estimate.low < 0.95 < estimate.high < 1.0
    assert crossed_proportion(np.ones((5, 10))) == proportion(np.ones(10))


def test_shares_near_one_are_covered_as_often_as_they_say():
    rng, num, covered, by_student = np.random.default_rng(0), 200, 0, 0
    for _ in range(num):
        hits = crossed(rng, 5, 40, 0.1, 0.4, 1.0) > -1.2  # 0.98 of them
        covered += crossed_proportion(hits).includes(stats.norm.cdf(2.2 / math.sqrt(0.01 + 0.16 + 1.0)))
        by_student += crossed_mean(hits).includes(stats.norm.cdf(2.2 / math.sqrt(0.01 + 0.16 + 1.0)))
    assert stats.binom.ppf(0.005, num, 0.95) <= covered
    assert by_student < covered


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, 2.0], r"expected numbers of shape \[seeds, items\]"),
        ([[]], "at least one"),
        ([[1.0, float("nan")]], "got nan for seed 0, item 1; every seed must be tested on the same items"),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(InvalidInputError, match=message):
        crossed_mean(values)


def test_sides_of_different_shape_and_clusters_of_another_length_are_refused():
    with pytest.raises(InvalidInputError, match="two sides of one shape"):
        crossed_difference([[1.0, 2.0]], [[1.0], [2.0]])
    with pytest.raises(InvalidInputError, match="one cluster per value, got 1 for 2 values"):
        crossed_mean([[1.0, 2.0]], clusters=["a"])
    with pytest.raises(InvalidInputError, match=r"within \[0, 1\]"):
        crossed_proportion([[1.0, 2.0]])
