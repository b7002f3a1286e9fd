"""`Table`: text and estimates in rows, for the terminal, the page and CSV."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from music.statistics import Estimate

__all__ = ["Cell", "Interval", "Table", "cell_text", "compact"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate in a table.

    Attributes:
        estimate: Value and interval.
        digits: Digits after the decimal point.
        sign: `+` shows the sign of positive numbers too.
        verdict: Words after the estimate.
        separator: Text between estimate and verdict.
    """

    estimate: Estimate
    digits: int = 3
    sign: str = ""
    verdict: str = ""
    separator: str = "  "

    def __str__(self) -> str:
        """Return for example `.012 [-.003,.027]  within noise`."""
        shown = compact(self.estimate, self.digits, self.sign)
        return f"{shown}{self.separator}{self.verdict}" if self.verdict else shown


Cell = str | int | float | Interval | None
"""A cell of a table; None if it is empty."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells: the first names the row, the others are numbers and words."""

    title: str
    caption: str
    columns: Sequence[str]
    groups: Mapping[str, Sequence[Sequence[Cell]]]
    """Rows by heading; an empty heading is not shown."""

    @property
    def num_rows(self) -> int:
        """The number of rows, without headings."""
        return sum(map(len, self.groups.values()))

    def spread(self) -> Iterator[list[str | int | float]]:
        """Yield header and rows for a spreadsheet, with separate columns for an interval's ends and its verdict."""
        rows = [(heading, row) for heading, of_group in self.groups.items() for row in of_group]
        cells = [column for _, row in rows[:1] for column in range(len(row))]
        wide = {column for _, row in rows for column in cells if isinstance(row[column], Interval)}
        said = {i for _, row in rows for i in wide if isinstance(cell := row[i], Interval) and cell.verdict}
        yield ["group", *(name for i, name in enumerate(self.columns) for name in _names(name, i in wide, i in said))]
        for heading, row in rows:
            yield [heading, *(value for i, cell in enumerate(row) for value in _values(cell, i in wide, i in said))]


def cell_text(cell: Cell) -> str:
    """Return a cell as text."""
    if cell is None:
        return "-"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
    return str(cell)


def compact(estimate: Estimate, digits: int, sign: str = "") -> str:
    """Return an estimate in few characters, for example `.78 [.72,.83]`, `1.0 [.96,1.0]` or `.78 (n = 1)`.

    Args:
        estimate: Value and interval.
        digits: Digits after the decimal point.
        sign: `+` shows the sign of positive numbers too.
    """
    value, low, high = (_short(number, digits, sign) for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low},{high}]" if estimate.has_interval else f"{value} (n = {estimate.num})"


def _short(number: float, digits: int, sign: str) -> str:
    """Return a number without its leading zero, or from 1 with one digit fewer, so that columns keep their width."""
    if abs(number) >= 1 - 0.5 * 10**-digits:
        return f"{number:{sign}.{digits - 1}f}"
    return f"{number:{sign}.{digits}f}".replace("0.", ".", 1)


def _names(name: str, is_wide: bool, is_said: bool) -> Iterable[str]:
    ends = [f"{name} low", f"{name} high"] if is_wide else []
    return [name, *ends, *([f"{name} verdict"] if is_said else [])]


def _values(cell: Cell, is_wide: bool, is_said: bool) -> Iterable[str | int | float]:
    if isinstance(cell, Interval):
        numbers: list[str | int | float] = [cell.estimate.value, cell.estimate.low, cell.estimate.high]
        return [*numbers, cell.verdict] if is_said else numbers
    return ["" if cell is None else cell, *[""] * (2 * is_wide + is_said)]
