import math
import random

import numpy as np
import pytest

from music.errors import InvalidInputError
from music.statistics import Estimate, accuracy, describe, mean, paired_difference, win_rate


def test_interval_agrees_with_a_plain_bootstrap():
    values = [random.Random(i).gauss(2.0, 1.0) for i in range(80)]
    rng = random.Random(0)
    means = sorted(sum(rng.choices(values, k=len(values))) / len(values) for _ in range(4000))

    estimate = mean(values)

    assert estimate.value == pytest.approx(sum(values) / len(values))
    assert estimate.num == 80
    assert estimate.low == pytest.approx(means[100], abs=0.02)
    assert estimate.high == pytest.approx(means[3900], abs=0.02)


def test_clusters_are_resampled_whole():
    units = np.random.default_rng(0).normal(size=40)
    repeated, clusters = np.repeat(units, 25), np.repeat(np.arange(40), 25)

    by_unit, by_value = mean(repeated, clusters=clusters), mean(repeated)

    alone = mean(units)  # copies of a unit carry no more knowledge than the unit
    assert (by_unit.low, by_unit.high, by_unit.num) == pytest.approx((alone.low, alone.high, 40))
    assert (by_value.high - by_value.low) < (by_unit.high - by_unit.low) / 3


def test_unequal_clusters_keep_the_mean_over_values():
    estimate = mean([1.0, 1.0, 1.0, 0.0], clusters=["a", "a", "a", "b"])
    assert estimate.value == 0.75
    assert (estimate.low, estimate.high, estimate.num) == (0.0, 1.0, 2)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = sum(mean(rng.exponential(size=60), seed=i).includes(1.0) for i in range(150))
    assert 0.85 <= covered / 150 <= 0.99


def test_same_seed_same_interval():
    values = np.random.default_rng(0).normal(size=30)
    assert mean(values, seed=3) == mean(values, seed=3)
    assert mean(values, seed=3) != mean(values, seed=4)


def test_a_paired_difference_ignores_what_the_arms_share():
    rng = np.random.default_rng(0)
    shared = rng.normal(scale=10, size=200)
    estimate = paired_difference(shared + 0.5 + rng.normal(scale=0.1, size=200), shared)
    assert 0.4 < estimate.low < 0.5 < estimate.high < 0.6


def test_ties_count_half_for_a_win_rate_and_nothing_for_accuracy():
    first, second = [1.0, 2.0, 3.0, 0.0], [1.0, 1.0, 3.0, 5.0]
    assert win_rate(first, second).value == 0.5
    assert accuracy(first, second).value == 0.25
    assert accuracy(first, second, clusters=[0, 0, 1, 1]).value == 0.25


def test_accuracy_has_wilsons_interval():
    estimate = accuracy([1.0] * 10, [0.0] * 10)
    assert (estimate.value, estimate.high) == (1.0, pytest.approx(1.0))
    assert estimate.low == pytest.approx(0.7225, abs=1e-4)
    half = accuracy([1.0, 0.0] * 50, [0.5] * 100)
    assert (half.low, half.high) == pytest.approx((0.4038, 0.5962), abs=1e-4)


def test_noise_is_said_in_words():
    assert describe(Estimate(0.013, -0.002, 0.03, 9)) == "+0.013 [-0.002, 0.030]: within noise"
    assert describe(Estimate(0.1, 0.05, 0.2, 9)).endswith("higher, beyond noise")
    assert describe(Estimate(0.4, 0.3, 0.45, 9), null=0.5) == "0.400 [0.300, 0.450]: lower, beyond noise"
    assert describe(paired_difference([1.0, 2.0], [1.0, 2.0])).endswith("within noise")


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
        win_rate([1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(InvalidInputError, match="one cluster per value"):
        mean([1.0, 2.0], clusters=[1])
