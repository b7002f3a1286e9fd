"""`Benchmark`: how rows become items, and how scores of items become the figures that the field quotes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from music.evaluation.benchmarks.item import Item
from music.preferences.sources import Row
from music.statistics import Figure

__all__ = ["Benchmark", "LeftOutError", "Scores"]

Scores = Mapping[str, Sequence[float]]
"""By the id of an item, one finite score per completion, in their order."""


class LeftOutError(Exception):
    """The benchmark itself leaves a row out; the text is the reason, for counting."""


class Benchmark(Protocol):
    """One benchmark; a module of `music.evaluation.benchmarks`, or one of your own (`register_benchmark`)."""

    @property
    def name(self) -> str:
        """As it is given on the command line, for example `rewardbench`."""
        ...

    @property
    def source(self) -> str:
        """Where its rows come from: the hub id, and the paper."""
        ...

    @property
    def split(self) -> str:
        """Which split of its hub data set is read unless another is named."""
        ...

    def read(self, row: Row) -> Iterable[Item]:
        """Return the items of a row; most rows are one.

        Raises:
            RowError: The row cannot be used: a field is missing, or is not what it should be.
            LeftOutError: The benchmark itself leaves such rows out, a tie among humans for example.
        """
        ...

    def figures(self, items: Sequence[Item], scores: Scores) -> list[Figure]:
        """Return what the benchmark reports, the headline first.

        Args:
            items: At least one; a subset without items is told by a figure that has no value, never left out silently.
            scores: Of all those items.

        Raises:
            InvalidInputError: The figures cannot be computed of these items.
        """
        ...
