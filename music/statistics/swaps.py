"""A paired test of figures made of several means: the two models swapped on whole prompts.

If two models are equally good, it is chance which of the two made which scores of a prompt. So the difference between
their figures is compared with what it would be had they been swapped on prompts at random. Unlike `paired_p_value`,
which it agrees with for the mean of one value per prompt, this holds for any statistic of several means.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from music.statistics.composite import Part, Statistic, cluster_totals, part_means

__all__ = ["swap_p_value"]

NUM_SWAPS = 10_000
_MAX_DRAWS = 2_000_000  # numbers held at once
_SLACK = 1e-9  # of rounding

Floats = NDArray[np.float64]


def swap_p_value(parts: Sequence[Part], difference: Statistic, *, seed: int = 0) -> float:
    """Return the two-sided p value that two models do equally well.

    Prompts on which the models do the same say nothing; those that swap alike are drawn together, by their number.

    Args:
        parts: The first model's, then as many of the second's, in the same order.
        difference: Of the parts' means, shape `[draws, parts]`, the first model's figure less the second's.
        seed: Of the draws.

    Returns:
        From 10,000 draws, so never below 1 / 10,001; 1 if no prompt tells the two apart.
    """
    totals = cluster_totals(parts)
    swapped = _swapped(totals)
    is_telling = (totals != swapped).any(axis=1)
    if not is_telling.any():
        return 1.0
    whole = totals.sum(axis=0)
    least = abs(float(difference(part_means(whole[None]))[0])) - _SLACK
    kinds = Counter(row.tobytes() for row in (swapped - totals)[is_telling])
    changes = np.frombuffer(b"".join(kinds), dtype=np.float64).reshape(len(kinds), -1)
    numbers = np.fromiter(kinds.values(), np.int64, len(kinds))
    rng = np.random.default_rng(seed)
    block = max(1, _MAX_DRAWS // len(kinds))
    num_as_far = 0
    for start in range(0, NUM_SWAPS, block):
        draws = rng.binomial(numbers, 0.5, (min(block, NUM_SWAPS - start), len(kinds)))
        num_as_far += int((np.abs(difference(part_means(whole + draws @ changes))) >= least).sum())
    return (num_as_far + 1) / (NUM_SWAPS + 1)


def _swapped(totals: Floats) -> Floats:
    """Return the totals with the two models' columns exchanged, sums and counts alike."""
    sums, counts = np.split(totals, 2, axis=1)
    num = sums.shape[1] // 2
    return np.concatenate([np.roll(sums, num, axis=1), np.roll(counts, num, axis=1)], axis=1)
