import random

import numpy as np
import pytest

from music.errors import InvalidInputError
from music.statistics import two_level_difference, two_level_mean, two_level_p_value


def crossed(rng, num_seeds=5, num_items=80, seed_spread=0.3, item_spread=0.5):
    by_seed, by_item = rng.normal(scale=seed_spread, size=(num_seeds, 1)), rng.normal(scale=item_spread, size=num_items)
    return 1.0 + by_seed + by_item + rng.normal(scale=0.2, size=(num_seeds, num_items))


def plain_pigeonhole(values, num_resamples, seed):
    """Return the 2.5 % and 97.5 % points of means over seeds and items, both drawn anew."""
    rng, (num_seeds, num_items) = random.Random(seed), values.shape
    means = []
    for _ in range(num_resamples):
        rows, columns = rng.choices(range(num_seeds), k=num_seeds), rng.choices(range(num_items), k=num_items)
        means.append(values[np.ix_(rows, columns)].mean())
    return np.quantile(means, [0.025, 0.975])


def test_the_interval_agrees_with_a_plain_pigeonhole_bootstrap_where_seeds_hardly_differ():
    values = crossed(np.random.default_rng(0), seed_spread=0.0)
    low, high = plain_pigeonhole(values, 4000, seed=0)
    estimate = two_level_mean(values)
    assert estimate.value == pytest.approx(values.mean())
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=0.02)


@pytest.mark.parametrize(("num_seeds", "quantile"), [(3, 4.303), (5, 2.776), (12, 2.201)])
def test_the_interval_is_students_where_seeds_alone_differ(num_seeds, quantile):
    by_seed = np.random.default_rng(1).normal(size=num_seeds)
    estimate = two_level_mean(np.repeat(by_seed[:, None], 50, axis=1) + np.linspace(-9, 9, 50) * 1e-6)
    half = quantile * by_seed.std(ddof=1) / num_seeds**0.5
    clipped = min(by_seed.mean() + half, by_seed.max()) - max(by_seed.mean() - half, by_seed.min())
    assert estimate.high - estimate.low == pytest.approx(clipped, rel=0.12)


def test_variances_of_seeds_and_conversations_add_up():
    values = crossed(np.random.default_rng(2), num_seeds=40, num_items=60)
    spread = (values.mean(axis=1).var(ddof=1) / 40 + values.mean(axis=0).var(ddof=1) / 60) ** 0.5
    estimate = two_level_mean(values)
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * spread, rel=0.08)


@pytest.mark.parametrize("num_seeds", [3, 8])
def test_it_covers_the_truth_where_an_interval_over_conversations_alone_does_not(num_seeds):
    rng, covered, covered_by_items = np.random.default_rng(1), 0, 0
    for _ in range(100):
        values = crossed(rng, num_seeds=num_seeds, num_items=40)
        covered += two_level_mean(values).includes(1.0)
        covered_by_items += two_level_mean(values.mean(axis=0, keepdims=True)).includes(1.0)
    assert covered >= 92
    assert covered_by_items < 85


def test_clusters_are_resampled_whole():
    values = crossed(np.random.default_rng(2), num_items=30)
    repeated = two_level_mean(np.repeat(values, 4, axis=1), clusters=[str(i // 4) for i in range(120)])
    alone = two_level_mean(values, clusters=[str(i) for i in range(30)])
    assert (repeated.value, repeated.low, repeated.high, repeated.num) == pytest.approx(
        (alone.value, alone.low, alone.high, 30)
    )


def test_a_difference_is_paired_by_seed_and_by_item():
    rng = np.random.default_rng(3)
    baseline = crossed(rng)
    ours = baseline + 0.1 + rng.normal(scale=0.05, size=baseline.shape)
    estimate = two_level_difference(ours, baseline)
    assert 0.08 < estimate.low < 0.1 < estimate.high < 0.12
    assert two_level_p_value(ours, baseline) == pytest.approx(2 / 10_001)
    assert two_level_p_value(baseline, ours) == pytest.approx(2 / 10_001)


def test_no_difference_has_a_p_value_of_one_and_noise_has_a_large_one():
    values = crossed(np.random.default_rng(4))
    assert two_level_p_value(values, values) == 1.0
    noise = np.random.default_rng(5).normal(size=values.shape)
    assert two_level_p_value(values + noise - noise.mean(), values) > 0.5


def test_one_seed_leaves_the_spread_of_the_items():
    values = crossed(np.random.default_rng(6), num_seeds=1)
    assert two_level_mean(values).low < values.mean() < two_level_mean(values).high


def test_a_single_conversation_leaves_the_interval_open():
    assert two_level_mean([[0.4], [0.6]]).includes(1e9)


def test_an_interval_stays_within_the_values():
    values = np.array([[1.0] * 9 + [0.0], [1.0] * 10])
    assert two_level_mean(values).high == 1.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, 2.0], r"expected numbers of shape \[seeds, items\]"),
        ([[]], "at least one"),
        ([[1.0, float("nan")]], "got nan for seed 0, item 1"),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(InvalidInputError, match=message):
        two_level_mean(values)


def test_sides_of_different_shape_and_clusters_of_another_length_are_refused():
    with pytest.raises(InvalidInputError, match="two sides of one shape"):
        two_level_difference([[1.0, 2.0]], [[1.0], [2.0]])
    with pytest.raises(InvalidInputError, match="one cluster per item, got 1 for 2 items"):
        two_level_mean([[1.0, 2.0]], clusters=["a"])
