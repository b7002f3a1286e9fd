"""Hypotheses: the claims that a grid declares before its cells run, and their tests.

Each is tested one-sided at the 2.5 % level over training seeds and prompts at once (`music.statistics.crossed`). Holm's
method adjusts the p values for the number of hypotheses of the grid, and for nothing else.
"""

import math
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, model_validator

from music.config import Config
from music.reward.tokens.contract import Readout
from music.statistics import CrossedDifference, Estimate, crossed_difference, holm
from music.statistics.crossed import Alternative
from music.statistics.estimates import Clusters

__all__ = ["LEVEL", "Hypothesis", "HypothesisResult", "Verdict", "answered"]

Floats = NDArray[np.float64]

LEVEL = 0.025
"""A hypothesis is confirmed if its adjusted one-sided p value is below it."""


class Verdict(StrEnum):
    """What an experiment says about a hypothesis."""

    CONFIRMED = "confirmed"
    """The adjusted p value is below 0.025."""
    REFUTED = "refuted"
    """The 95 % interval lies wholly on the wrong side: of 0, or of minus the margin."""
    OPEN = "open"
    """Neither."""


class Hypothesis(Config):
    """A claim about two arms, declared in `[hypotheses.NAME]`."""

    statement: str = Field(min_length=1)
    """The claim, in one sentence."""
    arm: str
    """The arm of the claim."""
    control: str
    """The arm that it is compared with."""
    measure: str
    """The measure on which they are compared."""
    readout: Readout = "last"
    """The readout of both arms."""
    direction: Literal["higher", "lower"] | None = None
    """The claim that the arm's value is higher, or lower, than the control's."""
    margin: PositiveFloat | None = None
    """In place of a direction, the claim that the arm is not inferior: arm - control > -margin."""

    @model_validator(mode="after")
    def _makes_one_claim(self) -> Self:
        if (self.direction is None) == (self.margin is None):
            got = "neither" if self.direction is None else "both"
            raise ValueError(f"expected either `direction` or `margin`, got {got}")
        if self.arm == self.control:
            raise ValueError(f"expected `control` to be another arm than `arm`, got {self.arm!r} as both")
        return self

    @property
    def null(self) -> float:
        """The difference arm - control that the hypothesis excludes, at the edge of what it claims."""
        return -self.margin if self.margin else 0.0

    @property
    def claim(self) -> str:
        """The claim as a formula, for example `music - base > -0.02`."""
        return f"{self.arm} - {self.control} {'<' if self.direction == 'lower' else '>'} {self.null:g}"


class HypothesisResult(BaseModel):
    """A hypothesis and its test."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    name: str
    hypothesis: Hypothesis
    estimate: Estimate | None
    """The difference arm - control with its 95 % interval; None if no seed has both arms."""
    by_seed: tuple[float, ...]
    """The difference in each seed that has both arms."""
    p_value: float
    """One-sided; 1 with fewer than two seeds, which cannot show how much training varies."""
    adjusted_p_value: float
    """Adjusted by Holm's method for all hypotheses of the grid."""
    smallest_found: float | None
    """The distance from the null at which this test, alone, finds a true difference four times in five; None if it is
    not known."""

    verdict: Verdict

    @property
    def reason(self) -> str:
        """Why this is the verdict, in words."""
        if len(self.by_seed) < 2:
            return f"{len(self.by_seed)} seeds with both arms, at least 2 are needed"
        if self.verdict == Verdict.CONFIRMED:
            return f"the adjusted p is below {LEVEL}"
        if self.estimate is None or not self.estimate.has_interval:
            return "all seeds and prompts have the same difference, so it has no interval"
        if self.verdict == Verdict.REFUTED:
            side = "above" if self.hypothesis.direction == "lower" else "below"
            return f"the interval lies wholly {side} {self.hypothesis.null:g}"
        if self.p_value < LEVEL:
            return f"p is below {LEVEL} only before the adjustment"
        return f"the interval includes {self.hypothesis.null:g}"


def answered(
    hypotheses: Mapping[str, Hypothesis], sides: Callable[[Hypothesis], tuple[Floats, Floats, Clusters]]
) -> list[HypothesisResult]:
    """Test all hypotheses of a grid.

    Args:
        hypotheses: The hypotheses by name.
        sides: Returns the values of a hypothesis's arm, those of its control, and the prompt of each item. Both sides
            have the shape `[seeds, items]`, over the seeds that both have.
    """
    data = [sides(hypothesis) for hypothesis in hypotheses.values()]
    found = [_difference(hypothesis, *each) for hypothesis, each in zip(hypotheses.values(), data, strict=True)]
    gains = [tuple(float(gain) for gain in (arm - control).mean(axis=1)) for arm, control, _ in data]
    p_values = [each.p_value if each and len(by_seed) > 1 else 1.0 for each, by_seed in zip(found, gains, strict=True)]
    return [
        HypothesisResult(
            name=name,
            hypothesis=hypotheses[name],
            estimate=each.estimate if each else None,
            by_seed=by_seed,
            p_value=p_value,
            adjusted_p_value=adjusted,
            smallest_found=each.minimum_detectable if each and math.isfinite(each.minimum_detectable) else None,
            verdict=_verdict(hypotheses[name], each.estimate if each and len(by_seed) > 1 else None, adjusted),
        )
        for name, each, by_seed, p_value, adjusted in zip(
            hypotheses, found, gains, p_values, holm(p_values), strict=True
        )
    ]


def _difference(hypothesis: Hypothesis, arm: Floats, control: Floats, clusters: Clusters) -> CrossedDifference | None:
    """Test one hypothesis; None if no seed has both arms."""
    if not len(arm):
        return None
    alternative: Alternative = "less" if hypothesis.direction == "lower" else "greater"
    return crossed_difference(arm, control, clusters=clusters, null=hypothesis.null, alternative=alternative)


def _verdict(hypothesis: Hypothesis, estimate: Estimate | None, adjusted_p_value: float) -> Verdict:
    """Return the verdict; without an estimate over several seeds the hypothesis is open."""
    if estimate is None:
        return Verdict.OPEN
    if adjusted_p_value < LEVEL:
        return Verdict.CONFIRMED
    is_lower = hypothesis.direction == "lower"
    is_refuted = estimate.low > hypothesis.null if is_lower else estimate.high < hypothesis.null
    return Verdict.REFUTED if is_refuted else Verdict.OPEN
