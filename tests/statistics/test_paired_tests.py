from itertools import product
from math import comb

import numpy as np
import pytest

from music.errors import InvalidInputError
from music.statistics import Component, paired_p_value, swap_p_value


def mcnemar(num_only_first, num_only_second):
    num, fewer = num_only_first + num_only_second, min(num_only_first, num_only_second)
    return min(1.0, 2 * sum(comb(num, k) for k in range(fewer + 1)) / 2**num)


def hits(num_both, num_only_first, num_only_second):
    first = [1.0] * (num_both + num_only_first) + [0.0] * num_only_second
    return first, [1.0] * num_both + [0.0] * num_only_first + [1.0] * num_only_second


@pytest.mark.parametrize("counts", [(5, 1), (1, 5), (6, 0), (30, 12), (400, 460), (3, 3)])
def test_of_hits_and_misses_it_is_mcnemars_exact_test(counts):
    assert paired_p_value(*hits(100, *counts)) == pytest.approx(mcnemar(*counts))


def test_six_prompts_that_all_favour_one_model_are_beyond_chance_and_five_are_not():
    assert paired_p_value(*hits(50, 6, 0)) == pytest.approx(2 / 64)
    assert paired_p_value(*hits(50, 5, 0)) == pytest.approx(2 / 32)


def test_it_agrees_with_all_flips_counted_out():
    differences = np.random.default_rng(0).normal(0.4, size=11)
    sums = [abs(np.dot(signs, differences)) for signs in product((-1, 1), repeat=11)]
    exact = np.mean([total >= abs(differences.sum()) - 1e-12 for total in sums])
    assert paired_p_value(differences, np.zeros(11)) == pytest.approx(exact, abs=0.015)


def test_conversations_are_flipped_whole():
    first, second = hits(0, 6, 2)
    repeated = paired_p_value(np.repeat(first, 10), np.repeat(second, 10), clusters=np.repeat(np.arange(8), 10))
    assert repeated == pytest.approx(mcnemar(6, 2))
    assert paired_p_value(np.repeat(first, 10), np.repeat(second, 10)) < 1e-4


def test_conversations_of_several_sizes():
    first = [1.0] * 9 + [0.0, 0.0]
    clusters = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 4]  # three conversations of three hits against two of none
    signs = product((-1, 1), repeat=5)
    exact = np.mean([abs(np.dot(s, [3, 3, 3, 1, 1])) >= 7 for s in signs])
    second = [0.0] * 9 + [1.0, 1.0]
    assert paired_p_value(first, second, clusters=clusters) == pytest.approx(exact, abs=0.015)


def test_equal_models_have_a_p_value_of_one():
    assert paired_p_value([0.1, 0.2], [0.1, 0.2]) == 1.0
    assert paired_p_value([0.1 + 0.2], [0.3]) == 1.0  # rounding is no difference


def test_it_errs_in_five_of_a_hundred_cases_where_there_is_nothing_to_find():
    rng, num = np.random.default_rng(0), 400
    skills = rng.random(60)
    found = sum(paired_p_value(*(rng.random((2, 60)) < skills).astype(float)) < 0.05 for _ in range(num))
    assert found / num <= 0.07
    noise = rng.exponential(size=(2, num, 40))  # skewed, but alike for both
    found = sum(paired_p_value(*noise[:, i], seed=i) < 0.05 for i in range(0, num, 4))
    assert found / 100 <= 0.1


def test_same_seed_same_p_value():
    first, second = np.random.default_rng(0).normal(size=(2, 30))
    assert paired_p_value(first, second, seed=1) == paired_p_value(first, second, seed=1)


def test_sides_that_do_not_fit_are_refused():
    with pytest.raises(InvalidInputError, match="1 and 2"):
        paired_p_value([1.0], [1.0, 2.0])
    with pytest.raises(InvalidInputError, match="one cluster per value"):
        paired_p_value([1.0, 2.0], [1.0, 2.0], clusters=[1])


def part(values, clusters=None):
    values = np.asarray(values, dtype=np.float64)
    return Component(values, np.arange(len(values)) if clusters is None else np.asarray(clusters))


def of_one(means):
    return means[:, 0] - means[:, 1]


def test_swaps_agree_with_the_exact_test_of_one_mean():
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
