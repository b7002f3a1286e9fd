"""Curves and histograms: what a report draws beside its figures."""

from pydantic import BaseModel, ConfigDict

from music.statistics import Estimate

__all__ = ["Curve", "CurvePoint", "Histogram"]


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
