"""What plots draw: single estimates, curves of estimates, and counts in bins."""

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
        place: The row that it stands in, or where along the axis.
        estimate: Value and interval; an open interval is drawn without a bar.
        series: The model or arm; its colour.
        panel: The plot that it stands in, of several side by side.
        variant: Its shape, for example how the model is read.
        is_clear: Drawn filled; a difference that is within noise is drawn hollow.
        reference: What it must be read against, for example what chance comes to.
    """

    place: str | float
    estimate: Estimate
    series: str = ""
    panel: str = ""
    variant: str = ""
    is_clear: bool = True
    reference: float | None = None

    def row(self) -> dict[str, str | float | None]:
        """Return it as data of a plot, and as a row of numbers."""
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
    """The mean of what is binned, or the value itself where each has its own point."""
    estimate: Estimate
    num: int
    """How many observations it rests on."""


class Curve(BaseModel):
    """How one quantity goes with another."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    name: str
    table: str
    """The table of figures that it belongs to."""
    x: str
    """What the axis shows, with its unit."""
    y: str
    points: tuple[CurvePoint, ...]
    """By rising x; empty where there was nothing to bin."""
    chance: float | None = None
    """What random scores come to."""
    ideal_is_x: bool = False
    """Whether y should equal x, as in a reliability curve."""


class Histogram(BaseModel):
    """How often a quantity takes which values."""

    model_config = ConfigDict(frozen=True)

    name: str
    table: str
    x: str
    edges: tuple[float, ...]
    """Of the bins, one more than there are bins."""
    counts: dict[str, tuple[int, ...]]
    """By series, for example `chosen` and `rejected`."""


def names_of(points: Iterable[Point], field: str) -> list[str]:
    """Return the values of a field of text, in order of appearance."""
    return list(dict.fromkeys(str(getattr(point, field)) for point in points))


def numbers(points: Sequence[Point]) -> list[dict[str, str | float | None]]:
    """Return the points as rows of numbers, without the columns that say the same of all."""
    rows = [point.row() for point in points]
    same = {key for key in ("panel", "series", "variant", "reference", "is_clear") if len({r[key] for r in rows}) < 2}
    return [{key: value for key, value in row.items() if key not in same} for row in rows]
