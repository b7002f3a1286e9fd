"""Many comparisons at once: adjusted p values and the effects that the comparisons can detect.

`compare_all` compares every two of several models on the same conversations, as one family of comparisons.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist

from music.errors import InvalidInputError
from music.statistics.estimates import CONFIDENCE, Clusters, Estimate, Values, paired_difference
from music.statistics.paired_tests import paired_p_value

__all__ = ["POWER", "PairedComparison", "compare_all", "holm", "minimum_detectable_effect"]

LEVEL = 0.05
POWER = 0.8


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
        seed: Seed of the resampling.

    Raises:
        InvalidInputError: As for `paired_difference`.
    """
    pairs = list(combinations(values, 2))
    alone = [paired_p_value(values[one], values[two], clusters=clusters, seed=seed) for one, two in pairs]
    found: list[PairedComparison] = []
    for (one, two), p_value, adjusted in zip(pairs, alone, holm(alone), strict=True):
        estimate = paired_difference(values[one], values[two], clusters=clusters, seed=seed)
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


def minimum_detectable_effect(difference: Estimate) -> float:
    """Return the true difference that a comparison like this one would find four times in five.

    It is `(z_0.975 + z_0.8) * SE`, 2.8 standard errors, for one comparison at the 5 % level. The standard error is half
    the interval's width over 1.96, so it includes the variation that the interval includes (conversations, training
    seeds). A family of comparisons finds less.

    Args:
        difference: Difference of two models or arms on the same conversations.

    Returns:
        The effect; infinite if the spread is unknown, because nothing varied or there is a single unit.
    """
    normal = NormalDist()
    z = normal.inv_cdf((1 + CONFIDENCE) / 2)
    width = difference.high - difference.low
    return (z + normal.inv_cdf(POWER)) * width / (2 * z) if width > 0 else math.inf
