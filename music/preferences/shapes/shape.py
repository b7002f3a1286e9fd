"""`Shape`: one shape of rows, and what its reader makes of a row."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

from music.preferences.problems import RowError, RowProblem
from music.preferences.said import Said
from music.preferences.shapes.format import Format

__all__ = ["Fields", "Found", "Shape", "Sides", "compared", "ranked"]

Fields = Mapping[str, Any]
"""The columns of a row, by name."""


class Sides(NamedTuple):
    """The two sides of a pair, whole conversations."""

    chosen: list[Said]
    rejected: list[Said]


class Found(NamedTuple):
    """What a row gives: any number of pairs, and how many comparisons ended in a tie."""

    pairs: list[Sides]
    num_ties: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One shape of rows.

    Attributes:
        format: Its name.
        columns: What a row of it has, none of them null.
        wants: What must stand there, in words.
        fits: Whether the values are of the right kinds, in a row that has the columns.
        read: Reads a row; raises a `RowError` if it is bad.
    """

    format: Format
    columns: tuple[str, ...]
    wants: str
    read: Callable[[Fields], Found]
    fits: Callable[[Fields], bool] = lambda _: True

    def is_shape_of(self, fields: Fields) -> bool:
        """Whether a row is of this shape."""
        return all(fields.get(name) is not None for name in self.columns) and self.fits(fields)


def compared(first: list[Said], second: list[Said], verdict: float) -> Found:
    """Return the pair of a verdict: above 0 for the first, below 0 for the second, 0 for a tie."""
    if not verdict:
        return Found([], num_ties=1)
    return Found([Sides(first, second) if verdict > 0 else Sides(second, first)])


def ranked(sides: Sequence[tuple[float, list[Said]]]) -> Found:
    """Return all pairs of conversations of which one has the higher worth; equal ones are ties.

    Raises:
        RowError: There are fewer than two.
    """
    if len(sides) < 2:
        expected = "at least two replies to compare"
        raise RowError(RowProblem.ONE_REPLY, "replies", expected=expected, got=str(len(sides)))
    found = [compared(one, other, worth - less) for (worth, one), (less, other) in combinations(sides, 2)]
    return Found([pair for each in found for pair in each.pairs], sum(each.num_ties for each in found))
