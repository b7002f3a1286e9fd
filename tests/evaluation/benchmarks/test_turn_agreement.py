from itertools import groupby, product
from statistics import fmean, mean

import numpy as np
import pytest

from music.evaluation.benchmarks.turn_agreement import area_under_curve, rank_correlations, worst_found


@pytest.fixture
def turns():
    """Five conversations of two to six turns, with ties among labels and among numbers."""
    rng = np.random.default_rng(3)
    conversations = np.repeat(np.arange(5), [2, 3, 4, 5, 6])
    labels = rng.integers(0, 3, 20) / 2
    labels[np.flatnonzero(np.diff(conversations, prepend=-1))] = 0.9  # so that those of each conversation differ
    return conversations, rng.integers(0, 4, 20).astype(float), labels


def parts(turns):
    rows = zip(*(values.tolist() for values in turns), strict=True)
    return [list(own) for _, own in groupby(rows, key=lambda row: row[0])]


def reference_ranks(values):
    return [
        mean([sum(other < value for other in values) + 1, sum(other <= value for other in values)]) for value in values
    ]


def share_in_order(numbers, is_good):
    good, bad = numbers[is_good], numbers[~is_good]
    return fmean((a > b) + 0.5 * (a == b) for a, b in product(good, bad))


def test_the_area_is_the_share_of_pairs_in_order_and_its_interval_that_of_the_jackknife():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(60), 5)
    is_good = rng.random(300) < 0.4
    numbers = np.round(rng.normal(size=300) + 0.6 * is_good + rng.normal(size=60)[clusters], 1)  # with ties
    found = area_under_curve(numbers, is_good, clusters)
    assert found.value == pytest.approx(share_in_order(numbers, is_good))
    without = [share_in_order(numbers[clusters != each], is_good[clusters != each]) for each in range(60)]
    half = 1.96 * np.sqrt(59 / 60 * np.sum((without - np.mean(without)) ** 2))
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.05)
    assert found.num == 60


def test_an_area_that_never_varies_is_not_certain():
    is_good = np.array([True, False] * 10)
    found = area_under_curve(is_good.astype(float), is_good, np.arange(20) // 2)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.722, abs=1e-3)  # Wilson, 10 of 10
    assert area_under_curve(-is_good.astype(float), is_good, np.arange(20) // 2).high == pytest.approx(0.278, abs=1e-3)


def test_flawed_turns_of_one_cluster_alone_leave_the_interval_open():
    found = area_under_curve(np.array([3.0, 1, 2, 4]), np.array([True, False, False, True]), np.array([0, 1, 1, 2]))
    assert (found.value, found.low, found.high) == (1.0, -np.inf, np.inf)


def test_rank_correlations_are_those_of_each_conversation_alone(turns):
    found = rank_correlations(*turns)
    for own, value in zip(parts(turns), found, strict=True):
        _, numbers, labels = zip(*own, strict=True)
        first, second = reference_ranks(numbers), reference_ranks(labels)
        expected = np.corrcoef(first, second)[0, 1] if len(set(numbers)) > 1 else 0.0
        assert value == pytest.approx(expected)


def test_numbers_that_rank_nothing_agree_with_nothing():
    assert rank_correlations(np.array([0, 0, 1, 1]), np.array([2.0, 2, 1, 3]), np.array([0.0, 1, 0, 1])).tolist() == [
        0,
        1,
    ]


def test_the_worst_turn_counts_its_share_where_the_lowest_numbers_are_tied(turns):
    found, chances = worst_found(*turns)
    for own, value, chance in zip(parts(turns), found, chances, strict=True):
        _, numbers, labels = zip(*own, strict=True)
        lowest = [label == min(labels) for number, label in zip(numbers, labels, strict=True) if number == min(numbers)]
        assert value == pytest.approx(mean(lowest))
        assert chance == pytest.approx(labels.count(min(labels)) / len(labels))
