import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS

from music.errors import InvalidInputError
from music.statistics import Estimate, describe, mean, paired_difference


def test_the_interval_is_students():
    values = np.random.default_rng(0).normal(2.0, size=12)
    low, high = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    estimate = mean(values)
    assert (estimate.value, estimate.num) == (pytest.approx(values.mean()), 12)
    assert (estimate.low, estimate.high) == pytest.approx((low, high))


def test_the_interval_over_clusters_is_that_of_statsmodels():
    rng = np.random.default_rng(1)
    clusters = rng.integers(7, size=40)
    values = rng.normal(size=40) + rng.normal(size=7)[clusters]
    fit = OLS(values, np.ones(40)).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    estimate = mean(values, clusters=clusters)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(fit.conf_int()[0]))
    assert estimate.num == 7


def test_clusters_count_as_one_unit_each():
    units = np.random.default_rng(0).normal(size=40)
    repeated, clusters = np.repeat(units, 25), np.repeat(np.arange(40), 25)

    by_unit, by_value = mean(repeated, clusters=clusters), mean(repeated)

    alone = mean(units)  # copies of a unit carry no more knowledge than the unit
    assert (by_unit.low, by_unit.high, by_unit.num) == pytest.approx((alone.low, alone.high, 40))
    assert (by_value.high - by_value.low) < (by_unit.high - by_unit.low) / 3


def test_unequal_clusters_keep_the_mean_over_values():
    estimate = mean([1.0, 1.0, 1.0, 0.0], clusters=["a", "a", "a", "b"])
    assert (estimate.value, estimate.num) == (0.75, 2)


def test_few_clusters_cover_the_truth_as_often_as_they_say():
    rng, num, clusters = np.random.default_rng(0), 400, np.repeat(np.arange(5), 8)
    covered = sum(
        mean((rng.normal(size=(5, 1)) + rng.normal(size=(5, 8))).ravel(), clusters=clusters).includes(0.0)
        for _ in range(num)
    )
    assert stats.binom.ppf(0.005, num, 0.95) <= covered  # percentiles of a bootstrap cover it in 81 of 100


def test_units_that_are_all_equal_show_no_spread():
    for values, clusters in (([0.1] * 4, None), ([0.3, 0.5, 0.4, 0.4], [0, 0, 1, 1])):
        estimate = mean(values, clusters=clusters)
        assert not estimate.has_interval
        assert describe(estimate).endswith("the noise is unknown")


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = sum(mean(rng.exponential(size=60)).includes(1.0) for i in range(150))
    assert 0.85 <= covered / 150 <= 0.99


def test_a_paired_difference_ignores_what_the_arms_share():
    rng = np.random.default_rng(0)
    shared = rng.normal(scale=10, size=200)
    estimate = paired_difference(shared + 0.5 + rng.normal(scale=0.1, size=200), shared)
    assert 0.4 < estimate.low < 0.5 < estimate.high < 0.6


def test_noise_is_said_in_words():
    assert describe(Estimate(0.013, -0.002, 0.03, 9)) == "+0.013 [-0.002, 0.030]: within noise"
    assert describe(Estimate(0.1, 0.05, 0.2, 9)).endswith("higher, beyond noise")
    assert describe(Estimate(0.4, 0.3, 0.45, 9), null=0.5) == "0.400 [0.300, 0.450]: lower, beyond noise"
    assert describe(paired_difference([1.0, 2.0], [1.0, 2.0])) == "+0.000 (n = 2: no interval): no difference"


def test_one_unit_leaves_the_interval_open():
    estimate = mean([0.3, 0.4], clusters=["only", "only"])
    assert (estimate.low, estimate.high, estimate.num) == (-math.inf, math.inf, 1)
    assert describe(estimate) == "+0.350 (n = 1: no interval): the noise is unknown"


@pytest.mark.parametrize("values", [[], [[1.0]], [1.0, math.nan], [math.inf]])
def test_values_that_cannot_be_averaged_are_refused(values):
    with pytest.raises(InvalidInputError, match="expected"):
        mean(values)


def test_sides_of_different_length_are_refused():
    with pytest.raises(InvalidInputError, match="3 and 2"):
        paired_difference([1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(InvalidInputError, match="one cluster per value"):
        mean([1.0, 2.0], clusters=[1])
