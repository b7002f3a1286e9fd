"""A paired test of two models on the same conversations: sign flips of whole conversations.

If two models are equally good, it is chance which of the two does better on a conversation, so the sign of each
conversation's difference is a coin flip. That holds whatever the values are; where they are hits and misses, one
conversation each, it is McNemar's exact test. For several training seeds see `two_level_p_value`.
"""

import math
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from music.statistics.estimates import Clusters, Values, checked_pair, cluster_sums

__all__ = ["paired_p_value"]

NUM_FLIPS = 10_000
_MAX_DRAWS = 2_000_000  # numbers held at once
_SLACK = 1e-9  # of rounding, relative to the largest sum that there could be


def paired_p_value(first: Values, second: Values, *, clusters: Clusters | None = None, seed: int = 0) -> float:
    """Return the two-sided p value that two models, or arms, do equally well.

    It is exact where all conversations that tell the two apart do so by the same amount; else it comes from 10,000
    random flips and is never below 1 / 10,001.

    Args:
        first: One finite number per observation, for example 1 for a hit and 0 for a miss; shape `[n]`.
        second: Those of the other, in the same order; shape `[n]`.
        clusters: The conversation that each belongs to; by default each its own; shape `[n]`.
        seed: Of the flips.

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
        return _binomial_p_value(int((differences > 0).sum()), len(differences))
    return _flipped(abs(float(differences.sum())), sizes, seed)


def _binomial_p_value(num_above: int, num: int) -> float:
    """Return how often a fair coin falls at least as unevenly."""
    fewer = min(num_above, num - num_above)
    log_terms = (math.lgamma(num + 1) - math.lgamma(k + 1) - math.lgamma(num - k + 1) for k in range(fewer + 1))
    return min(1.0, 2 * math.fsum(math.exp(term - num * math.log(2)) for term in log_terms))


def _flipped(observed: float, sizes: Counter[float], seed: int) -> float:
    """Return how often a sum with signs drawn anew is as far from 0; of equal sizes only the number is drawn."""
    rng = np.random.default_rng(seed)
    amounts, numbers = np.array(list(sizes.keys())), np.array(list(sizes.values()))
    least = observed - _SLACK * float(amounts @ numbers)
    block = max(1, _MAX_DRAWS // len(amounts))
    num_as_far = 0
    for start in range(0, NUM_FLIPS, block):
        sums = _flips(rng, numbers, min(block, NUM_FLIPS - start)) @ amounts
        num_as_far += int((np.abs(sums) >= least).sum())
    return (num_as_far + 1) / (NUM_FLIPS + 1)


def _flips(rng: np.random.Generator, numbers: NDArray[np.int64], num: int) -> NDArray[np.float64]:
    """Return how many more signs of each size fall up than down; shape `[num, sizes]`."""
    shape = (num, len(numbers))
    if numbers.max() == 1:  # coins cost a tenth of binomial draws
        return np.asarray(2.0 * rng.integers(2, size=shape, dtype=np.int8) - 1)
    return np.asarray(2.0 * rng.binomial(numbers, 0.5, shape) - numbers)
