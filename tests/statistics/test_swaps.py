import numpy as np
import pytest

from music.statistics.composite import Part
from music.statistics.paired import paired_p_value
from music.statistics.swaps import swap_p_value


def part(values, clusters=None):
    values = np.asarray(values, dtype=np.float64)
    return Part(values, np.arange(len(values)) if clusters is None else np.asarray(clusters))


def of_one(means):
    return means[:, 0] - means[:, 1]


def test_it_agrees_with_the_exact_test_of_one_mean():
    for num_better, num_worse in ((5, 0), (9, 2), (12, 8)):
        first = [1.0] * num_better + [0.0] * num_worse + [1.0] * 30
        second = [0.0] * num_better + [1.0] * num_worse + [1.0] * 30
        exact = paired_p_value(first, second)  # McNemar's
        assert swap_p_value([part(first), part(second)], of_one) == pytest.approx(exact, abs=0.015)


def test_prompts_are_swapped_whole():
    first, second = np.array([1.0, 1.0, 1.0] * 4), np.zeros(12)
    clusters = np.arange(12) // 3
    exact = 2 * 0.5**4  # four prompts, all for the first
    assert swap_p_value([part(first, clusters), part(second, clusters)], of_one) == pytest.approx(exact, abs=0.015)


def test_any_statistic_of_several_means_keeps_its_level():
    def highest(means):
        return means[:, :2].max(axis=1) - means[:, 2:].max(axis=1)

    rng = np.random.default_rng(0)
    p_values = [swap_p_value([part(v) for v in rng.normal(size=(4, 25))], highest, seed=n) for n in range(100)]
    # Of 100 comparisons of equals 5% come out below 0.05, give or take three standard deviations of 2.2.
    assert sum(p < 0.05 for p in p_values) <= 11
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.09)
    better = rng.normal(1.5, size=(2, 25))
    assert swap_p_value([part(v) for v in (*better, *rng.normal(size=(2, 25)))], highest) < 0.01


def test_nothing_that_tells_two_models_apart_is_no_evidence():
    assert swap_p_value([part([0.3, 0.7]), part([0.3, 0.7])], of_one) == 1.0
