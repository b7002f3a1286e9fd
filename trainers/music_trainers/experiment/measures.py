"""The measures of a grid: what each is called, how it is shown, and the prompt of each of its test items."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["MeasureInfo"]


class MeasureInfo(BaseModel):
    """A measure of a grid. All of its cells have one value for each test item, in one order."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Unique in the grid."""
    unit: Literal["share", "grade"]
    """`share`: values within [0, 1], for example 1 if a pair is ranked correctly; `grade`: values of any size."""
    by_readout: bool
    """Whether readouts give different values. If not, it is shown once, with the readout `last`."""
    group: str = ""
    """Heading of the table that shows it; empty for the main table."""
    clusters: tuple[str, ...]
    """The prompt of each item. Items of one prompt are not independent of each other."""
    compared: bool = True
    """Whether its differences between arms are reported."""
