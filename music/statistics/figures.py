"""`Figure`: one number of a report, with its interval, its basis and a note."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, InstanceOf

from music.statistics.composites import Component, Statistic
from music.statistics.estimates import Estimate

__all__ = ["Basis", "Figure"]


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """The parts of an estimate, from which two models are compared prompt by prompt.

    Attributes:
        parts: The means; prompts have the same numbers in all figures of the same items.
        statistic: Maps the parts' means to the figure.
    """

    parts: tuple[Component, ...]
    statistic: Statistic


class Figure(BaseModel):
    """One number of a report."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    name: str
    """For example `Chat Hard`, `hard`, `overall`."""
    table: str = "overall"
    """The table of the figure, for example `subsets` or `turn of the defect`."""
    estimate: Estimate | None
    """None if there is no data for it; `note` then gives the reason."""
    num_items: int
    """Number of items from which it is computed."""
    chance: float | None = None
    """The figure of random scores, if it is known."""
    note: str = ""
    """How to read it: a weight, a formula's name, an exclusion."""
    basis: InstanceOf[Basis] | None = Field(default=None, exclude=True, repr=False)
    """Not saved. None for a figure that cannot be compared between models."""
