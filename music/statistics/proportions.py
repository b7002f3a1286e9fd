"""Shares of hits, wins and other values within [0, 1], with intervals that stay within [0, 1] and are never empty.

Hits that are independent have Wilson's score interval. For hits that share a unit, and for values between 0 and 1, it
is that of the number of independent hits that would vary as much: `p (1 - p) / SE^2`, reduced by the squared ratio of
the normal and Student's quantile for the number of units (Korn and Graubard 1998; Dean and Pagano 2015). If all values
are equal, that number is the number of units.

A win rate is tested against one half, so its interval is the exact one of Clopper and Pearson. Four wins of four do not
exclude one half, because the exact p value is 0.125. Wilson's interval would exclude it.
"""

import math
from typing import Literal

import numpy as np

from music.errors import InvalidInputError
from music.statistics.estimates import (
    CONFIDENCE,
    Clusters,
    Estimate,
    Values,
    checked,
    checked_pair,
    cluster_sums,
    quantile_t,
    standard_error,
)

__all__ = ["accuracy", "bounded_estimate", "proportion", "proportion_interval", "win_rate"]


def proportion(values: Values, *, clusters: Clusters | None = None, exact: bool = False) -> Estimate:
    """Estimate a mean of values within [0, 1].

    Args:
        values: One number within [0, 1] per observation, for example 1 for a hit and 0 for a miss; shape `[n]`.
        clusters: The unit of each value; shape `[n]`.
        exact: Use Clopper and Pearson's interval in place of Wilson's. It is wider and misses at most 5 %.

    Raises:
        InvalidInputError: As for `mean`, or a value is not within [0, 1].
    """
    array = checked(values)
    if array.min() < 0 or array.max() > 1:
        raise InvalidInputError(f"expected values within [0, 1], got {array.min():g} to {array.max():g}; use `mean`")
    sums, counts = cluster_sums(array, clusters)
    share, num, is_hits = float(array.mean()), len(sums), bool(np.isin(array, (0, 1)).all())
    if is_hits and num == len(array):
        return Estimate(share, *proportion_interval(share, num, exact=exact), num)
    most = len(array) if is_hits else math.inf
    return bounded_estimate(share, standard_error(sums, counts), num - 1, num, most=most, exact=exact)


def accuracy(chosen: Values, rejected: Values, *, clusters: Clusters | None = None) -> Estimate:
    """Estimate how often the chosen side scores strictly higher; a tie is a miss.

    Raises:
        InvalidInputError: As for `paired_difference`.
    """
    left, right = checked_pair(chosen, rejected)
    return proportion((left > right).astype(np.float64), clusters=clusters)


def win_rate(first: Values, second: Values, *, clusters: Clusters | None = None) -> Estimate:
    """Estimate how often `first` beats `second` on the same conversation; a tie counts half.

    Raises:
        InvalidInputError: As for `paired_difference`.
    """
    left, right = checked_pair(first, second)
    return proportion((np.sign(left - right) + 1) / 2, clusters=clusters, exact=True)


def bounded_estimate(
    share: float, error: float, df: float, num: int, *, most: float = math.inf, exact: bool = False
) -> Estimate:
    """Return a mean of values within [0, 1] and the interval of as many independent hits as would vary as much.

    Args:
        share: The mean.
        error: Its standard error; 0 if all units are equal.
        df: The degrees of freedom of the standard error.
        num: Number of independent units.
        most: The largest number of independent hits: for hits, their own number.
        exact: As for `proportion`.
    """
    size: float = num
    if error > 0:
        size = min(share * (1 - share) / error**2, most) * (quantile_t(math.inf) / quantile_t(df)) ** 2
    return Estimate(share, *proportion_interval(share, size, exact=exact), num)


def proportion_interval(share: float, size: float, *, exact: bool = False) -> tuple[float, float]:
    """Return Wilson's interval of a share of `size` independent hits, or Clopper and Pearson's."""
    from statsmodels.stats.proportion import proportion_confint

    method: Literal["beta", "wilson"] = "beta" if exact else "wilson"
    low, high = proportion_confint(share * size, size, alpha=1 - CONFIDENCE, method=method)
    # At the ends the formulas give 0 and 1 up to rounding, or NaN.
    return 0.0 if share == 0 else float(low), 1.0 if share == 1 else float(high)
