"""Several models on the same conversations: every pair of them compared, as one family of comparisons."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from music.statistics.estimates import Clusters, Estimate, Values, paired_difference
from music.statistics.multiplicity import holm
from music.statistics.paired import paired_p_value
from music.statistics.power import minimum_detectable_effect

__all__ = ["PairedComparison", "compare_all"]

LEVEL = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedComparison:
    """One model less another, on the same conversations.

    Attributes:
        first: A model.
        second: The one that is taken off.
        estimate: Of the mean difference; its interval is for this comparison alone.
        p_value: Two-sided, of this comparison alone; see `paired_p_value`.
        adjusted_p_value: By Holm's method, for all comparisons of the family.
        minimum_detectable: The true difference that one such comparison would find four times in five.
        verdict: In words; beyond noise if the adjusted p value is below 0.05.
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
    """Compare every model with every later one; all these comparisons are one family.

    Args:
        values: By model, one number per observation, for example 1 for a hit; shape `[n]` each, in one order.
        clusters: The conversation that each observation belongs to; shape `[n]`.
        seed: Of resampling.

    Raises:
        InvalidInputError: As for `paired_difference`.
    """
    pairs = list(combinations(values, 2))
    alone = [paired_p_value(values[one], values[two], clusters=clusters, seed=seed) for one, two in pairs]
    found: list[PairedComparison] = []
    for (one, two), p_value, adjusted in zip(pairs, alone, holm(alone), strict=True):
        estimate = paired_difference(values[one], values[two], clusters=clusters, seed=seed)
        found.append(
            PairedComparison(
                first=one,
                second=two,
                estimate=estimate,
                p_value=p_value,
                adjusted_p_value=adjusted,
                minimum_detectable=minimum_detectable_effect(estimate),
                verdict=_verdict(estimate.value, adjusted),
            )
        )
    return tuple(found)


def _verdict(value: float, p_value: float) -> str:
    if p_value >= LEVEL:
        return "within noise"
    return f"{'higher' if value > 0 else 'lower'}, beyond noise"
