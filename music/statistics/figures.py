"""`Figure`: one number of a report, with its interval, what it rests on, and what it must be read with."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, InstanceOf

from music.statistics.composites import Component, Statistic
from music.statistics.estimates import Estimate

__all__ = ["Basis", "Figure"]


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """What an estimate is made of, so that two models' can be compared prompt by prompt.

    Attributes:
        parts: The means; prompts are numbered alike in all figures of the same items.
        statistic: From the parts' means to the figure.
    """

    parts: tuple[Component, ...]
    statistic: Statistic


class Figure(BaseModel):
    """One number of a report."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    name: str
    """For example `Chat Hard`, `hard`, `overall`."""
    table: str = "overall"
    """The table that it stands in, for example `subsets` or `turn of the defect`."""
    estimate: Estimate | None
    """None where there is nothing to compute it of; `note` then says why."""
    num_items: int
    """How many items it rests on."""
    chance: float | None = None
    """What random scores come to, where that is known."""
    note: str = ""
    """What it must be read with: a weight, a formula's name, an exclusion."""
    basis: InstanceOf[Basis] | None = Field(default=None, exclude=True, repr=False)
    """Not saved. None for a figure that cannot be compared between models."""
