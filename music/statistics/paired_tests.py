"""Paired tests of two models on the same conversations.

If two models are equally good, chance decides which of them got which scores of a conversation. `paired_p_value` tests
a difference of means: it flips the signs of whole conversations' differences. `swap_p_value` tests any figure made of
several means: it swaps the two models on whole prompts. For the mean of one value per prompt the two tests agree. For
hits and misses, one conversation each, both are McNemar's exact test. For several training seeds see
`crossed_difference`.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from music.statistics.composites import Component, Statistic, cluster_totals, component_means
from music.statistics.estimates import Clusters, Values, checked_pair, cluster_sums

__all__ = ["paired_p_value", "swap_p_value"]

NUM_DRAWS = 10_000
_MAX_DRAWS = 2_000_000  # numbers in memory at once
_SLACK = 1e-9  # for rounding; of flips, relative to the largest possible sum

Floats = NDArray[np.float64]


def paired_p_value(first: Values, second: Values, *, clusters: Clusters | None = None, seed: int = 0) -> float:
    """Return the two-sided p value of the hypothesis that two models, or arms, are equally good.

    It is exact if all differences other than 0 have the same size. Otherwise it comes from 10,000 random flips and is
    never below 1 / 10,001.

    Args:
        first: One finite number per observation, for example 1 for a hit and 0 for a miss; shape `[n]`.
        second: The other model's numbers, in the same order; shape `[n]`.
        clusters: The conversation of each observation, shape `[n]`; by default each is its own.
        seed: Seed of the flips.

    Raises:
        InvalidInputError: There are no values, some are not finite, or the lengths differ.
    """
    left, right = checked_pair(first, second)
    differences, _ = cluster_sums(left - right, clusters)
    differences = differences[np.abs(differences) > _SLACK * max(1.0, float(np.abs(differences).max()))]
    if not len(differences):
        return 1.0
    sizes = Counter(np.abs(differences).tolist())
    if len(sizes) == 1:
        from scipy.stats import binomtest

        return float(binomtest(int((differences > 0).sum()), len(differences)).pvalue)
    return _flipped(abs(float(differences.sum())), sizes, seed)


def swap_p_value(parts: Sequence[Component], difference: Statistic, *, seed: int = 0) -> float:
    """Return the two-sided p value of the hypothesis that two models are equally good.

    Prompts on which the models do the same are left out. Prompts whose swaps have the same effect are drawn together,
    by their number.

    Args:
        parts: The first model's parts, then as many of the second's, in the same order.
        difference: Maps the parts' means, shape `[draws, parts]`, to the first model's figure less the second's.
        seed: Seed of the draws.

    Returns:
        The p value from 10,000 draws, so never below 1 / 10,001; 1 if no prompt distinguishes the models.
    """
    totals = cluster_totals(parts)
    swapped = _swapped(totals)
    is_different = (totals != swapped).any(axis=1)
    if not is_different.any():
        return 1.0
    whole = totals.sum(axis=0)
    least = abs(float(difference(component_means(whole[None]))[0])) - _SLACK
    kinds = Counter(row.tobytes() for row in (swapped - totals)[is_different])
    changes = np.frombuffer(b"".join(kinds), dtype=np.float64).reshape(len(kinds), -1)
    numbers = np.fromiter(kinds.values(), np.int64, len(kinds))
    rng = np.random.default_rng(seed)
    block = max(1, _MAX_DRAWS // len(kinds))
    num_as_far = 0
    for start in range(0, NUM_DRAWS, block):
        draws = rng.binomial(numbers, 0.5, (min(block, NUM_DRAWS - start), len(kinds)))
        num_as_far += int((np.abs(difference(component_means(whole + draws @ changes))) >= least).sum())
    return (num_as_far + 1) / (NUM_DRAWS + 1)


def _flipped(observed: float, sizes: Counter[float], seed: int) -> float:
    """Return how often a sum with random signs is as far from 0; for equal sizes only the number is drawn."""
    rng = np.random.default_rng(seed)
    amounts, numbers = np.array(list(sizes.keys())), np.array(list(sizes.values()))
    least = observed - _SLACK * float(amounts @ numbers)
    block = max(1, _MAX_DRAWS // len(amounts))
    num_as_far = 0
    for start in range(0, NUM_DRAWS, block):
        sums = _flips(rng, numbers, min(block, NUM_DRAWS - start)) @ amounts
        num_as_far += int((np.abs(sums) >= least).sum())
    return (num_as_far + 1) / (NUM_DRAWS + 1)


def _flips(rng: np.random.Generator, numbers: NDArray[np.int64], num: int) -> Floats:
    """Return how many more signs of each size are positive than negative; shape `[num, sizes]`."""
    shape = (num, len(numbers))
    if numbers.max() == 1:  # coins cost a tenth of binomial draws
        return np.asarray(2.0 * rng.integers(2, size=shape, dtype=np.int8) - 1)
    return np.asarray(2.0 * rng.binomial(numbers, 0.5, shape) - numbers)


def _swapped(totals: Floats) -> Floats:
    """Return the totals with the two models' columns exchanged, sums and counts alike."""
    sums, counts = np.split(totals, 2, axis=1)
    num = sums.shape[1] // 2
    return np.concatenate([np.roll(sums, num, axis=1), np.roll(counts, num, axis=1)], axis=1)
