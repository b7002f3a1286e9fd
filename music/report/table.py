"""`Table`: text and estimates in rows, the same for the terminal, for the page and for CSV."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from music.statistics import Estimate

__all__ = ["Cell", "Interval", "Table", "cell_text", "compact"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate as a table shows it.

    Attributes:
        estimate: The figures.
        digits: How many after the point.
        sign: `+` shows the sign of positive numbers too.
        verdict: What is said of it; stands behind it.
        separator: Between the two.
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
"""Of a table; None where there is nothing."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells: the first names the row, the others are figures and words."""

    title: str
    caption: str
    columns: Sequence[str]
    groups: Mapping[str, Sequence[Sequence[Cell]]]
    """Rows by the heading that stands above them; no heading where it is empty."""

    @property
    def num_rows(self) -> int:
        """How many rows there are, headings aside."""
        return sum(map(len, self.groups.values()))

    def spread(self) -> Iterator[list[str | int | float]]:
        """Yield header and rows as a spreadsheet takes them: the ends of an interval and its verdict in columns."""
        rows = [(heading, row) for heading, of_group in self.groups.items() for row in of_group]
        cells = [column for _, row in rows[:1] for column in range(len(row))]
        wide = {column for _, row in rows for column in cells if isinstance(row[column], Interval)}
        said = {column for _, row in rows for column in wide if _verdict(row[column])}
        yield ["group", *(name for i, name in enumerate(self.columns) for name in _names(name, i in wide, i in said))]
        for heading, row in rows:
            yield [heading, *(value for i, cell in enumerate(row) for value in _values(cell, i in wide, i in said))]


def cell_text(cell: Cell) -> str:
    """Return a cell as people read it."""
    if cell is None:
        return "-"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
    return str(cell)


def compact(estimate: Estimate, digits: int, sign: str = "") -> str:
    """Return an estimate in few characters, for example `.78 [.72,.83]` or `1.0 [.96,1.0]`.

    Args:
        estimate: Figure and interval.
        digits: How many after the point.
        sign: `+` shows the sign of positive numbers too.
    """
    value, low, high = (_short(number, digits, sign) for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low},{high}]"


def _short(number: float, digits: int, sign: str) -> str:
    """Return a number without its leading zero; from one on with a digit less, so that columns keep their width."""
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


def _verdict(cell: Cell) -> str:
    return cell.verdict if isinstance(cell, Interval) else ""
