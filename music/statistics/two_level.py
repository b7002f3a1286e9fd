"""Estimates over training seeds and test conversations at once, by resampling both (the pigeonhole bootstrap).

`values[s, i]` is the result of training seed `s` on test item `i`; all seeds are tested on the same items.
Each resample draws seeds and, independently, whole conversations, both with replacement (Owen 2007, "The pigeonhole
bootstrap"). The bootstrap alone is too narrow for few seeds: with three seeds that differ much, its intervals would
contain the truth in 88 of 100 cases. So each resample scales the spread between S seeds by sqrt(S / chi2), where chi2
is a chi-squared draw with S - 1 degrees of freedom. This makes the tails Student's, and the coverage 97 of 100. With
two seeds the intervals are very wide. Results are deterministic given `seed`.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from music.errors import InvalidInputError
from music.statistics.estimates import CONFIDENCE, Estimate

__all__ = ["two_level_difference", "two_level_mean", "two_level_p_value"]

NUM_RESAMPLES = 10_000

_MAX_DRAWS = 4_000_000  # numbers in memory at once; up to 400 conversations are drawn once for all figures

Floats = NDArray[np.float64]
_Draws = NDArray[np.float32]
Clusters = Sequence[int] | Sequence[str]


def two_level_mean(values: ArrayLike, *, clusters: Clusters | None = None, seed: int = 0) -> Estimate:
    """Estimate a mean over training seeds and test items.

    Args:
        values: Finite numbers; shape `[seeds, items]`. With a single seed the interval covers the items alone.
        clusters: The conversation of each item, shape `[items]`; by default each is its own.
        seed: Seed of the resampling.

    Raises:
        InvalidInputError: There are no values, some are not finite, or `clusters` has another length.
    """
    array = _checked(values)
    sums, counts = _by_cluster(array, clusters)
    value = float(array.mean())
    if sums.shape[1] == 1:  # the spread between conversations is unknown
        return Estimate(value, -math.inf, math.inf, 1)
    tail = (1 - CONFIDENCE) / 2
    means = np.clip(_resampled_means(sums, counts, seed), array.min(), array.max())
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(value, float(low), float(high), sums.shape[1])


def two_level_difference(
    values: ArrayLike, baseline: ArrayLike, *, clusters: Clusters | None = None, seed: int = 0
) -> Estimate:
    """Estimate the mean of `values - baseline`, paired by training seed and by test item.

    Raises:
        InvalidInputError: As for `two_level_mean`, or the two differ in shape.
    """
    return two_level_mean(_differences(values, baseline), clusters=clusters, seed=seed)


def two_level_p_value(
    values: ArrayLike, baseline: ArrayLike, *, clusters: Clusters | None = None, seed: int = 0
) -> float:
    """Return the two-sided share of resamples in which the paired difference changes its sign; at least 2 / 10,001.

    Raises:
        InvalidInputError: As for `two_level_difference`.
    """
    means = _resampled_means(*_by_cluster(_differences(values, baseline), clusters), seed)
    below, above = int((means <= 0).sum()), int((means >= 0).sum())
    return min(1.0, 2 * (min(below, above) + 1) / (NUM_RESAMPLES + 1))


def _differences(values: ArrayLike, baseline: ArrayLike) -> Floats:
    left, right = _checked(values), _checked(baseline)
    if left.shape != right.shape:
        raise InvalidInputError(f"expected two sides of one shape, got {left.shape} and {right.shape}")
    difference: Floats = left - right
    return difference


def _checked(values: ArrayLike) -> Floats:
    """Return the values as a table of finite numbers."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or not array.size:
        raise InvalidInputError(f"expected numbers of shape [seeds, items], at least one, got shape {array.shape}")
    if not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise InvalidInputError(f"expected finite numbers, got {array[row, column]} for seed {row}, item {column}")
    return array


def _by_cluster(values: Floats, clusters: Clusters | None) -> tuple[Floats, Floats]:
    """Return each seed's sum over each cluster, and the number of items of each cluster."""
    if clusters is None:
        return values, np.ones(values.shape[1])
    if len(clusters) != values.shape[1]:
        raise InvalidInputError(f"expected one cluster per item, got {len(clusters)} for {values.shape[1]} items")
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    counts = np.bincount(index).astype(np.float64)
    return np.stack([np.bincount(index, weights=row) for row in values]), counts


def _resampled_means(sums: Floats, counts: Floats, seed: int) -> Floats:
    """Return the means of resamples of seeds and clusters; shape `[NUM_RESAMPLES]`."""
    num_seeds, num_clusters = sums.shape
    by_seed = _draws(num_seeds, NUM_RESAMPLES, seed, 0)
    size = min(NUM_RESAMPLES, max(1, _MAX_DRAWS // num_clusters))
    blocks: list[Floats] = []
    for number, seeds in enumerate(np.array_split(by_seed, range(size, NUM_RESAMPLES, size))):
        clusters = _draws(num_clusters, size, seed + 1, number)[: len(seeds)]
        blocks.append(((seeds @ sums) * clusters).sum(axis=1) / num_seeds / (clusters @ counts))
    means = np.concatenate(blocks)
    if num_seeds == 1:
        return means
    seed_means = sums.sum(axis=1) / counts.sum()
    chi2 = np.random.default_rng(seed + 2).chisquare(num_seeds - 1, NUM_RESAMPLES)
    wider: Floats = means + (np.sqrt(num_seeds / chi2) - 1) * (by_seed @ (seed_means - seed_means.mean())) / num_seeds
    return wider


@lru_cache(maxsize=16)
def _draws(num_units: int, num_resamples: int, seed: int, block: int) -> _Draws:
    """Return how often each unit is drawn in each resample of a block; shape `[num_resamples, num_units]`."""
    rng = np.random.default_rng([seed, block])
    draws = (np.bincount(rng.integers(num_units, size=num_units), minlength=num_units) for _ in range(num_resamples))
    return np.fromiter(draws, np.dtype((np.float32, num_units)), num_resamples)
