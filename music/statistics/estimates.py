"""Estimates with confidence intervals: means and paired differences over whole conversations.

Scores of one conversation, or of one seed, are not independent. `clusters` names the unit of each value. The standard
error is the cluster-robust one, and the interval is Student's with one degree of freedom fewer than there are units. By
default every value is its own unit. For shares of hits, wins and other values within [0, 1] see `proportions`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from music.errors import InvalidInputError

__all__ = ["CONFIDENCE", "Estimate", "describe", "mean", "paired_difference"]
__all__ += ["Clusters", "Values", "checked", "checked_pair", "cluster_sums", "quantile_t", "standard_error"]

CONFIDENCE = 0.95
_ROUNDING = 1e-12  # relative to the largest value: a spread below it is rounding

Values = Sequence[float] | NDArray[np.float64]
Clusters = Sequence[int] | Sequence[str] | NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95% confidence interval.

    Attributes:
        value: The estimate.
        low: Lower end of the interval; minus infinity if the spread is unknown.
        high: Upper end of the interval; infinity if the spread is unknown: for a single unit, or units that are equal.
        num: Number of independent units (conversations, seeds, pairs).
    """

    value: float
    low: float
    high: float
    num: int

    @classmethod
    def of_unknown_spread(cls, value: float, num: int) -> "Estimate":
        """Return a figure without an interval."""
        return cls(value, -math.inf, math.inf, num)

    @classmethod
    def students(cls, value: float, error: float, df: float, num: int) -> "Estimate":
        """Return a figure with Student's interval; without one if its standard error is 0, which no sample shows."""
        if error == 0:
            return cls.of_unknown_spread(value, num)
        margin = quantile_t(df) * error
        return cls(value, value - margin, value + margin, num)

    def __str__(self) -> str:
        """Return for example `0.750 [0.712, 0.789]`, or `0.750 (n = 1: no interval)`."""
        if not self.has_interval:
            return f"{self.value:.3f} (n = {self.num}: no interval)"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    @property
    def has_interval(self) -> bool:
        """Whether the spread between units is known: there are several, and they are not all equal."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def includes(self, value: float) -> bool:
        """Return whether a value lies within the interval, its ends included."""
        return self.low <= value <= self.high


def mean(values: Values, *, clusters: Clusters | None = None) -> Estimate:
    """Estimate a mean.

    Args:
        values: One finite number per observation; shape `[n]`.
        clusters: The unit of each value; shape `[n]`.

    Example:
        >>> mean([0.0, 1.0, 1.0, 0.0]).value
        0.5

    Raises:
        InvalidInputError: There are no values, some are not finite, or `clusters` has another length.
    """
    array = checked(values)
    sums, counts = cluster_sums(array, clusters)
    error = standard_error(sums, counts)
    return Estimate.students(float(array.mean()), error, len(sums) - 1, len(sums))


def paired_difference(first: Values, second: Values, *, clusters: Clusters | None = None) -> Estimate:
    """Estimate the mean of `first - second` over the same conversations in the same order.

    Raises:
        InvalidInputError: As for `mean`, or the two sides differ in length.
    """
    left, right = checked_pair(first, second)
    return mean(left - right, clusters=clusters)


def describe(estimate: Estimate, *, null: float = 0.0) -> str:
    """Return an estimate and, in words, whether it differs from `null` (0 for a difference, 0.5 for a win rate)."""
    if not estimate.has_interval:
        verdict = "no difference" if estimate.value == null and estimate.num > 1 else "the noise is unknown"
    elif estimate.includes(null):
        verdict = "within noise"
    else:
        verdict = "higher, beyond noise" if estimate.value > null else "lower, beyond noise"
    sign = "+" if null == 0 and estimate.value >= 0 else ""
    return f"{sign}{estimate}: {verdict}"


def quantile_t(df: float) -> float:
    """Return the factor of Student's two-sided 95 % interval."""
    from scipy.special import stdtrit

    return float(stdtrit(df, (1 + CONFIDENCE) / 2))


def standard_error(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> float:
    """Return the cluster-robust standard error of a mean (Liang and Zeger 1986, times `G / (G - 1)`).

    Args:
        sums: The sum of each unit's values; shape `[G]`.
        counts: The number of each unit's values; shape `[G]`.

    Returns:
        The standard error; 0 for a single unit, and for units of the same mean.
    """
    num, total = len(sums), float(counts.sum())
    residuals = sums - counts * (sums.sum() / total)
    if num == 1 or np.abs(residuals).max() <= _ROUNDING * np.abs(sums).max():
        return 0.0
    return math.sqrt(num / (num - 1) * float(residuals @ residuals)) / total


def checked(values: Values) -> NDArray[np.float64]:
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
    left, right = checked(first), checked(second)
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
