"""Many comparisons at once: adjusted p values and the effects that the comparisons can detect.

`compare_all` compares every two of several models on the same conversations, as one family of comparisons.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np

from music.errors import InvalidInputError
from music.statistics.estimates import Clusters, Estimate, Values, paired_difference, quantile_t
from music.statistics.paired_tests import paired_p_value

__all__ = ["POWER", "PairedComparison", "compare_all", "holm", "minimum_detectable_effect"]

LEVEL = 0.05
POWER = 0.8
_NUM_QUANTILES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedComparison:
    """The difference between two models on the same conversations, `first - second`.

    Attributes:
        first: A model.
        second: The model that is subtracted.
        estimate: The mean difference; its interval is for this comparison alone.
        p_value: Two-sided, for this comparison alone; see `paired_p_value`.
        adjusted_p_value: Adjusted by Holm's method for all comparisons of the family.
        minimum_detectable: The true difference that one such comparison would find four times in five.
        verdict: The result in words; beyond noise if the adjusted p value is below 0.05.
    """

    first: str
    second: str
    estimate: Estimate
    p_value: float
    adjusted_p_value: float
    minimum_detectable: float
    verdict: str


def compare_all(
    values: Mapping[str, Values], *, clusters: Clusters | None = None, seed: int = 0
) -> tuple[PairedComparison, ...]:
    """Compare every model with every later one, as one family of comparisons.

    Args:
        values: By model, one number per observation, for example 1 for a hit; shape `[n]` each, in the same order.
        clusters: The conversation of each observation; shape `[n]`.
        seed: Seed of the flips.

    Raises:
        InvalidInputError: As for `paired_difference`.
    """
    pairs = list(combinations(values, 2))
    alone = [paired_p_value(values[one], values[two], clusters=clusters, seed=seed) for one, two in pairs]
    found: list[PairedComparison] = []
    for (one, two), p_value, adjusted in zip(pairs, alone, holm(alone), strict=True):
        estimate = paired_difference(values[one], values[two], clusters=clusters)
        direction = "higher" if estimate.value > 0 else "lower"
        found.append(
            PairedComparison(
                first=one,
                second=two,
                estimate=estimate,
                p_value=p_value,
                adjusted_p_value=adjusted,
                minimum_detectable=minimum_detectable_effect(estimate),
                verdict=f"{direction}, beyond noise" if adjusted < LEVEL else "within noise",
            )
        )
    return tuple(found)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted by Holm's step-down method, in the order given.

    If you call every difference real whose adjusted p value is below 0.05, the chance of any false claim in the family
    is at most 5 %, however the comparisons depend on each other.

    Args:
        p_values: The p values of all comparisons that were made, not only of the promising ones.

    Raises:
        InvalidInputError: A p value is not within [0, 1].
    """
    if bad := [p for p in p_values if not 0 <= p <= 1]:
        raise InvalidInputError(f"expected p values within [0, 1], got {bad[0]}")
    if not p_values:
        return []
    from statsmodels.stats.multitest import multipletests

    adjusted: list[float] = multipletests(p_values, method="holm")[1].tolist()
    return adjusted


def minimum_detectable_effect(difference: Estimate, *, df: float | None = None) -> float:
    """Return the true difference that a new comparison like this one would find four times in five.

    It is a multiple of the standard error, for Student's two-sided test at the 5 % level: 2.80 for many units, 2.98 for
    30, 4.68 for 5. The standard error is itself an estimate, so the power is that of a new comparison, averaged over
    the errors that this estimate may have. A family of comparisons finds less, and so does an exact test of hits and
    misses if fewer than about 10 of them differ.

    Args:
        difference: Difference of two models or arms on the same conversations, with Student's interval.
        df: The interval's degrees of freedom; by default one fewer than there are units.

    Returns:
        The effect; infinite if the spread is unknown, because nothing varied or there is a single unit.
    """
    if not difference.has_interval:
        return math.inf
    df = difference.num - 1 if df is None else df
    error = (difference.high - difference.low) / 2 / quantile_t(df)
    return error * _detectable(df)


@lru_cache(maxsize=1024)
def _detectable(df: float) -> float:
    """Return the effect, in estimated standard errors, that Student's two-sided test finds four times in five."""
    from scipy.optimize import brentq
    from scipy.special import chdtri, nctdtr

    critical = quantile_t(df)
    # The estimated standard error over the true one, at evenly spaced quantiles.
    ratios = np.sqrt(chdtri(df, (np.arange(_NUM_QUANTILES) + 0.5) / _NUM_QUANTILES) / df)

    def lacking(effect: float) -> float:
        misses = np.nan_to_num(nctdtr(df, effect * ratios, critical))  # NaN where they are too rare to compute
        return float(POWER - 1 + misses.mean())

    return float(brentq(lacking, 1.0, 1e4, xtol=1e-4))
