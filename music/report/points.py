"""The data of plots: single estimates, curves of estimates, and histograms."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from music.statistics import Estimate

__all__ = ["Curve", "CurvePoint", "Histogram", "Point", "names_of", "numbers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One estimate in a plot.

    Attributes:
        place: The row, or the position along the axis.
        estimate: Value and interval; an infinite interval is drawn without a bar.
        series: The model or arm, shown by colour.
        panel: The plot in which it is drawn, of several side by side.
        variant: A variant shown by shape, for example how the model is read.
        is_clear: Whether the mark is filled; a difference within noise is hollow.
        reference: The value to compare it with, for example the value by chance.
    """

    place: str | float
    estimate: Estimate
    series: str = ""
    panel: str = ""
    variant: str = ""
    is_clear: bool = True
    reference: float | None = None

    def row(self) -> dict[str, str | float | None]:
        """Return the point as a row, for plots and for CSV."""
        ends = (self.estimate.low, self.estimate.high)
        low, high = (end if math.isfinite(end) else None for end in ends)
        return {
            "panel": self.panel,
            "place": self.place,
            "series": self.series,
            "variant": self.variant,
            "value": self.estimate.value,
            "low": low,
            "high": high,
            "n": self.estimate.num,
            "reference": self.reference,
            "is_clear": self.is_clear,
        }


class CurvePoint(BaseModel):
    """One point of a curve."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    x: float
    """The mean of the bin, or the value itself if each value has its own point."""
    estimate: Estimate
    num: int
    """Number of observations."""


class Curve(BaseModel):
    """One quantity as a function of another."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    name: str
    table: str
    """The table of figures to which it belongs."""
    x: str
    """The quantity on the axis, with its unit."""
    y: str
    points: tuple[CurvePoint, ...]
    """By increasing x; empty if there is no data."""
    chance: float | None = None
    """The value of random scores."""
    ideal_is_x: bool = False
    """Whether y should equal x, as in a reliability curve."""


class Histogram(BaseModel):
    """Counts of the values of a quantity, in bins."""

    model_config = ConfigDict(frozen=True)

    name: str
    table: str
    x: str
    edges: tuple[float, ...]
    """The edges of the bins, one more than there are bins."""
    counts: dict[str, tuple[int, ...]]
    """By series, for example `chosen` and `rejected`."""


def names_of(points: Iterable[Point], field: str) -> list[str]:
    """Return the distinct values of a text field, in order of appearance."""
    return list(dict.fromkeys(str(getattr(point, field)) for point in points))


def numbers(points: Sequence[Point]) -> list[dict[str, str | float | None]]:
    """Return the points as rows, without the columns in which all are the same."""
    rows = [point.row() for point in points]
    same = {key for key in ("panel", "series", "variant", "reference", "is_clear") if len({r[key] for r in rows}) < 2}
    return [{key: value for key, value in row.items() if key not in same} for row in rows]
