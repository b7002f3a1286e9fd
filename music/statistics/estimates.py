"""Estimates with confidence intervals, by resampling whole conversations.

Scores of one conversation, or of one seed, are not independent. `clusters` names the unit of each value, and units
are resampled whole (percentile bootstrap). By default every value is its own unit. Results are deterministic given
`seed`. The percentile interval is slightly narrow for fewer than about 30 units.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from music.errors import InvalidInputError

__all__ = ["Estimate", "accuracy", "describe", "mean", "paired_difference", "proportion", "win_rate"]
__all__ += ["Clusters", "Values", "checked_pair", "cluster_sums"]

NUM_RESAMPLES = 2000
CONFIDENCE = 0.95

Values = Sequence[float] | NDArray[np.float64]
Clusters = Sequence[int] | Sequence[str] | NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95% confidence interval.

    Attributes:
        value: The estimate.
        low: Lower end of the interval; minus infinity for a single unit.
        high: Upper end of the interval; infinity for a single unit.
        num: Number of independent units (conversations, seeds, pairs).
    """

    value: float
    low: float
    high: float
    num: int

    def __str__(self) -> str:
        """Return for example `0.750 [0.712, 0.789]`, or `0.750 (n = 1: no interval)`."""
        if not self.has_interval:
            return f"{self.value:.3f} (n = {self.num}: no interval)"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    @property
    def has_interval(self) -> bool:
        """Whether there are enough units to know the spread between them."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def includes(self, value: float) -> bool:
        """Return whether a value lies within the interval, its ends included."""
        return self.low <= value <= self.high


def mean(values: Values, *, clusters: Clusters | None = None, seed: int = 0) -> Estimate:
    """Estimate a mean.

    Args:
        values: One finite number per observation; shape `[n]`.
        clusters: The unit of each value; shape `[n]`.
        seed: Seed of the resampling.

    Example:
        >>> mean([0.0, 1.0, 1.0, 0.0]).value
        0.5

    Raises:
        InvalidInputError: There are no values, some are not finite, or `clusters` has another length.
    """
    array = _checked(values)
    sums, counts = cluster_sums(array, clusters)
    value, num = float(array.mean()), len(sums)
    if num == 1:  # the spread between units is unknown
        return Estimate(value, -math.inf, math.inf, 1)
    rng = np.random.default_rng(seed)
    draws = (rng.integers(num, size=num) for _ in range(NUM_RESAMPLES))  # one at a time, to keep memory small
    means = np.fromiter((sums[draw].sum() / counts[draw].sum() for draw in draws), np.float64, NUM_RESAMPLES)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(value, float(low), float(high), num)


def paired_difference(first: Values, second: Values, *, clusters: Clusters | None = None, seed: int = 0) -> Estimate:
    """Estimate the mean of `first - second` over the same conversations in the same order.

    Raises:
        InvalidInputError: As for `mean`, or the two sides differ in length.
    """
    left, right = checked_pair(first, second)
    return mean(left - right, clusters=clusters, seed=seed)


def win_rate(first: Values, second: Values, *, clusters: Clusters | None = None, seed: int = 0) -> Estimate:
    """Estimate how often `first` beats `second` on the same conversation; a tie counts half.

    Raises:
        InvalidInputError: As for `paired_difference`.
    """
    left, right = checked_pair(first, second)
    return mean((np.sign(left - right) + 1) / 2, clusters=clusters, seed=seed)


def accuracy(chosen: Values, rejected: Values, *, clusters: Clusters | None = None, seed: int = 0) -> Estimate:
    """Estimate how often the chosen side scores strictly higher; a tie is a miss.

    Without clusters the interval is Wilson's, which has a width even if every pair is right.

    Raises:
        InvalidInputError: As for `paired_difference`.
    """
    left, right = checked_pair(chosen, rejected)
    hits = (left > right).astype(np.float64)
    return mean(hits, clusters=clusters, seed=seed) if clusters is not None else proportion(hits.sum(), len(hits))


def proportion(total: float, num: int) -> Estimate:
    """Estimate a share with Wilson's score interval, which stays within [0, 1] and is not empty at its ends.

    Args:
        total: Sum over the units of values within [0, 1], for example the number of hits.
        num: Number of independent units.

    Raises:
        InvalidInputError: `num` is 0, or the sum is not within [0, num].
    """
    if not 0 <= total <= num or not num:
        raise InvalidInputError(f"expected a sum within [0, {num}] over at least one unit, got {total:g} over {num}")
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(total, num, alpha=1 - CONFIDENCE, method="wilson")
    low, high = 0.0 if total == 0 else float(low), 1.0 if total == num else float(high)  # rounding aside
    return Estimate(float(total) / num, low, high, num)


def describe(estimate: Estimate, *, null: float = 0.0) -> str:
    """Return an estimate and, in words, whether it differs from `null` (0 for a difference, 0.5 for a win rate)."""
    if not estimate.has_interval:
        verdict = "the noise is unknown"
    elif estimate.includes(null):
        verdict = "within noise"
    else:
        verdict = "higher, beyond noise" if estimate.value > null else "lower, beyond noise"
    sign = "+" if null == 0 and estimate.value >= 0 else ""
    return f"{sign}{estimate}: {verdict}"


def _checked(values: Iterable[float]) -> NDArray[np.float64]:
    """Return the values as a non-empty vector of finite numbers."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise InvalidInputError(f"expected a sequence of at least one number, got shape {array.shape}")
    if not np.isfinite(array).all():
        index = int(np.flatnonzero(~np.isfinite(array))[0])
        raise InvalidInputError(f"expected finite numbers, got {array[index]} at index {index}; drop or fix that row")
    return array


def checked_pair(first: Values, second: Values) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both sides as vectors of one length."""
    left, right = _checked(first), _checked(second)
    if left.shape != right.shape:
        raise InvalidInputError(f"expected two sides of one length, got {left.size} and {right.size} values")
    return left, right


def cluster_sums(
    values: NDArray[np.float64], clusters: Clusters | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sum and the count of each cluster's values."""
    if clusters is None:
        return values, np.ones_like(values)
    if len(clusters) != len(values):
        raise InvalidInputError(f"expected one cluster per value, got {len(clusters)} for {len(values)} values")
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    sums, counts = np.bincount(index, weights=values), np.bincount(index)
    return sums.astype(np.float64), counts.astype(np.float64)
