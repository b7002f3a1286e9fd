import numpy as np
import pytest
from scipy.stats import binom, binomtest
from statsmodels.stats.proportion import proportion_confint

from music.errors import InvalidInputError
from music.statistics import accuracy, describe, mean, paired_p_value, proportion, win_rate


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


@pytest.mark.parametrize(("wins", "num"), [(4, 4), (5, 5), (6, 6), (0, 6), (17, 24), (18, 24)])
def test_a_win_rate_excludes_one_half_exactly_if_the_exact_test_does(wins, num):
    first = [1.0] * wins + [0.0] * (num - wins)
    estimate = win_rate(first, [0.5] * num)
    exact = binomtest(wins, num).proportion_ci(method="exact")
    assert (estimate.low, estimate.high) == pytest.approx((exact.low, exact.high))
    assert estimate.includes(0.5) == (paired_p_value(first, [1 - x for x in first]) > 0.05)


def test_four_wins_of_four_are_no_proof():
    assert describe(win_rate([1.0] * 4, [0.0] * 4), null=0.5) == "1.000 [0.398, 1.000]: within noise"
    assert describe(win_rate([1.0] * 4, [1.0] * 4), null=0.5) == "0.500 [0.068, 0.932]: within noise"


def test_hits_that_share_a_conversation_count_as_fewer():
    hits, clusters = np.repeat([1.0] * 15 + [0.0] * 5, 10), np.repeat(np.arange(20), 10)
    estimate = proportion(hits, clusters=clusters)
    # 20 independent hits, less the price of an estimated variance: (1.960 / 2.093)^2 of 19
    size = 19 * (1.959964 / 2.093024) ** 2
    assert (estimate.low, estimate.high) == pytest.approx(
        proportion_confint(0.75 * size, size, method="wilson"), abs=1e-5
    )
    assert estimate.num == 20
    assert proportion(np.ones(200), clusters=clusters).low == pytest.approx(proportion([1.0] * 20).low)


def test_many_ties_make_a_win_rate_narrower_than_hits_and_misses():
    first = np.tile([1.0, 0.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], 20)
    estimate, plain = win_rate(first, np.full(200, 0.5)), mean(first)
    assert estimate.low < plain.low < plain.high < estimate.high
    assert estimate.high - estimate.low < 1.2 * (plain.high - plain.low)


def clustered_hits(rng, share, num_clusters, size, correlation):
    spread = 1 / correlation - 1
    shares = rng.beta(share * spread, (1 - share) * spread, (num_clusters, 1))
    return (rng.random((num_clusters, size)) < shares).astype(float)


@pytest.mark.parametrize("num_clusters", [5, 10, 20])
def test_hits_near_one_are_covered_as_often_as_they_say(num_clusters):
    rng, num, covered, by_student = np.random.default_rng(0), 300, 0, 0
    clusters = np.repeat(np.arange(num_clusters), 5)
    for _ in range(num):
        hits = clustered_hits(rng, 0.97, num_clusters, 5, 0.1).ravel()
        covered += proportion(hits, clusters=clusters).includes(0.97)
        found = mean(hits, clusters=clusters)
        by_student += found.has_interval and found.includes(0.97)
    assert binom.ppf(0.005, num, 0.95) <= covered
    assert by_student < covered


def test_a_win_rate_of_equals_is_called_different_in_at_most_five_percent():
    rng, num = np.random.default_rng(1), 400
    for ties, size in ((0.0, 8), (0.6, 12), (0.9, 40)):
        chances = [(1 - ties) / 2, ties, (1 - ties) / 2]
        found = sum(not win_rate(rng.choice(3, size, p=chances), np.ones(size)).includes(0.5) for _ in range(num))
        assert found <= binom.ppf(0.995, num, 0.05)


def test_values_beyond_one_are_no_share():
    with pytest.raises(InvalidInputError, match=r"within \[0, 1\], got 0 to 2; use `mean`"):
        proportion([0.0, 2.0])
