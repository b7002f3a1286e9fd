"""One model against several others on the same conversations, with intervals that all hold at once.

`simultaneous_differences` is for claims that are chosen by looking at the results, such as "the last step is worse than
the best one": the chance that any of its intervals misses is 5 %, so it holds for the interval that you pick, too.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from music.errors import InvalidInputError
from music.statistics.estimates import CONFIDENCE, Estimate, Values, checked_pair

__all__ = ["simultaneous_differences"]

NUM_DRAWS = 4000
_MAX_DRAWS = 2_000_000  # numbers in memory at once

Floats = NDArray[np.float64]


def simultaneous_differences(value: Values, others: Sequence[Values], *, seed: int = 0) -> list[Estimate]:
    """Estimate the mean of `value - other` for each of the others; with 95 % all intervals contain the truth.

    The intervals are `mean +- c * SE`. `c` is the 95 % quantile of the largest `|t|` over the others if nothing
    differs: the centred differences of whole conversations get random signs (the wild bootstrap), the same ones for all
    others, which keeps the correlations between them. Every draw has its own standard error, which makes the tails
    Student's.

    Args:
        value: One finite number per conversation; shape `[n]`.
        others: The others' numbers for the same conversations, in the same order; shape `[n]` each.
        seed: Seed of the draws.

    Raises:
        InvalidInputError: There are no others or no values, some are not finite, or the lengths differ.
    """
    if not others:
        raise InvalidInputError("expected at least one other to compare with, got none")
    pairs = [checked_pair(value, other) for other in others]
    differences = np.stack([left - right for left, right in pairs], axis=1)  # [n, others]
    num, means = len(differences), differences.mean(axis=0)
    if num == 1:  # the spread between conversations is unknown
        return [Estimate(float(mean), -math.inf, math.inf, 1) for mean in means]
    centred = differences - means
    squares = (centred**2).sum(axis=0)
    margins = _critical(centred, squares, seed) * np.sqrt(squares / (num * (num - 1)))
    return [
        Estimate(float(mean), float(mean - margin), float(mean + margin), num)
        for mean, margin in zip(means, np.where(squares > 0, margins, 0.0), strict=True)
    ]


def _critical(centred: Floats, squares: Floats, seed: int) -> float:
    """Return the quantile of the largest |t| under random signs; infinite for too few conversations."""
    num = len(centred)
    rng = np.random.default_rng(seed)
    block = max(1, _MAX_DRAWS // num)
    largest: list[Floats] = []
    for start in range(0, NUM_DRAWS, block):
        signs = 2.0 * rng.integers(2, size=(min(block, NUM_DRAWS - start), num), dtype=np.int8) - 1
        sums = signs @ centred
        rest = np.maximum(squares - sums**2 / num, 0.0)  # squares about the draw's own mean
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.abs(sums) / np.sqrt(rest * num / (num - 1))
        largest.append(np.nan_to_num(t, nan=0.0, posinf=math.inf).max(axis=1))
    return float(np.quantile(np.concatenate(largest), CONFIDENCE, method="higher"))
