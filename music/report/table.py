"""`Table`: text and estimates in rows, for the terminal, the page and CSV."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from music.statistics import Estimate

__all__ = ["Cell", "Interval", "Table", "cell_kind", "cell_text", "compact", "p_text"]

SMALLEST_P = 0.0001
LONG_WORDS = 40
"""Characters from which a cell of words may take several lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate in a table.

    Attributes:
        estimate: Value and interval.
        sign: `+` shows the sign of a positive value too.
        verdict: Words after the estimate.
        separator: Text between estimate and verdict.
    """

    estimate: Estimate
    sign: str = ""
    verdict: str = ""
    separator: str = "  "

    def __str__(self) -> str:
        """Return for example `0.012 [-0.003, 0.027]  within noise`."""
        shown = compact(self.estimate, self.sign)
        return f"{shown}{self.separator}{self.verdict}" if self.verdict else shown

    @property
    def value(self) -> str:
        """The value alone, for example `0.012`."""
        return compact(self.estimate, self.sign).partition(" ")[0]

    @property
    def stacked(self) -> str:
        """Value, interval and verdict in lines of their own."""
        value, _, interval = compact(self.estimate, self.sign).partition(" ")
        return "\n".join(filter(None, [value, interval, self.verdict]))


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

    @property
    def has_intervals(self) -> bool:
        """Whether a cell is an estimate."""
        return any(isinstance(cell, Interval) for rows in self.groups.values() for row in rows for cell in row)

    def only(self, places: Sequence[int]) -> "Table":
        """Return the table with some of its columns."""
        groups = {heading: [[row[i] for i in places] for row in rows] for heading, rows in self.groups.items()}
        return replace(self, columns=[self.columns[i] for i in places], groups=groups)

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
        return _number_text(cell)
    return str(cell)


def cell_kind(cell: Cell) -> str:
    """Return how a page lays out a cell: `words`, which may take several lines, or else `short`."""
    return "words" if isinstance(cell, str) and len(cell) >= LONG_WORDS else "short"


def p_text(p_value: float | None) -> str:
    """Return a p value as text, for example `0.0123` or `<0.0001`; `-` for none."""
    if p_value is None:
        return cell_text(None)
    return f"{p_value:.4f}" if p_value >= SMALLEST_P else f"<{SMALLEST_P}"


def compact(estimate: Estimate, sign: str = "") -> str:
    """Return an estimate for a table, for example `0.780 [0.720, 0.830]` or `0.780 (n = 1)`.

    Args:
        estimate: Value and interval.
        sign: `+` shows the sign of a positive value too.
    """
    value = f"{estimate.value:{sign}z.3f}"
    return (
        f"{value} [{estimate.low:z.3f}, {estimate.high:z.3f}]"
        if estimate.has_interval
        else f"{value} (n = {estimate.num})"
    )


def _number_text(number: float) -> str:
    """Return a number with three digits after the point, fewer from 10 on, and more for a number that is nearly 0."""
    if number and abs(number) < 0.0005:
        return f"{number:.1g}"
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.1f}" if abs(number) >= 10 else f"{number:.3f}"


def _names(name: str, is_wide: bool, is_said: bool) -> Iterable[str]:
    ends = [f"{name} low", f"{name} high"] if is_wide else []
    return [name, *ends, *([f"{name} verdict"] if is_said else [])]


def _values(cell: Cell, is_wide: bool, is_said: bool) -> Iterable[str | int | float]:
    if isinstance(cell, Interval):
        numbers: list[str | int | float] = [cell.estimate.value, cell.estimate.low, cell.estimate.high]
        return [*numbers, cell.verdict] if is_said else numbers
    return ["" if cell is None else cell, *[""] * (2 * is_wide + is_said)]
