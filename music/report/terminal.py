"""Printing a result in the terminal: tables, findings, and the path of the report."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill, indent

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from music.report import Cell, Interval, Table, cell_text

__all__ = ["print_result"]

UNBOUNDED = 10_000
"""Columns in which any table fits."""
NAMES = 18
"""Columns of the names of rows whose values and intervals take two lines."""


def print_result(
    console: Console,
    tables: Sequence[Table],
    findings: Sequence[str],
    report: Path,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Print tables, findings and notes, without styles if the console is not a terminal.

    Args:
        console: The console; tables are made for 100 columns.
        tables: Tables in reading order.
        findings: Sentences about them.
        report: The report's path, printed last and on one line, so that it can be copied.
        notes: Further paragraphs by name.
    """
    for table in (each for each in tables if each.num_rows):
        shown, has_intervals = _fitting_tables(table, console)
        caption = (
            table.caption if has_intervals else f"{table.caption} Intervals: in the report, or in a wider terminal."
        )
        console.print(Text(table.title, style="bold"))
        for block in shown:
            console.print(block)
        console.print(Text(caption, style="dim"), end="\n\n")
    if findings:
        console.print(Text("Findings", style="bold"))
        console.print(_paragraphs([("-", finding) for finding in findings]))
    if notes:
        console.print()
        console.print(_paragraphs([*notes.items()]))
    console.print(Text(f"Report    {report}"), soft_wrap=True)


def _fitting_tables(table: Table, console: Console) -> tuple[list[RichTable], bool]:
    """Return a table that fits the terminal, in one or several blocks, and whether it shows the intervals.

    Intervals stand beside their values, or below them in a narrower terminal, or are left out. If the values alone are
    too wide, their columns are divided into blocks below each other.
    """
    unbounded = console.options.update(max_width=UNBOUNDED)

    def fits(shown: RichTable) -> bool:
        return console.measure(shown, options=unbounded).maximum <= console.width

    for text, name_width in ((cell_text, UNBOUNDED), (_stacked_text, NAMES)):
        shown = _rich_table(table, text, name_width)
        if not table.has_intervals or fits(shown):
            return [shown], True
    return [*_blocks(table, fits)], False


def _blocks(table: Table, fits: Callable[[RichTable], bool]) -> Iterator[RichTable]:
    """Yield tables of values that fit, each with the names of the rows and as many further columns as possible."""
    start, end = 1, len(table.columns)
    while start < end:
        shown = _rich_table(table.only([0, *range(start, end)]), _value_text)
        if end - start > 1 and not fits(shown):
            end -= 1
            continue
        yield shown
        start, end = end, len(table.columns)


def _stacked_text(cell: Cell) -> str:
    return cell.stacked if isinstance(cell, Interval) else cell_text(cell)


def _value_text(cell: Cell) -> str:
    return cell.value if isinstance(cell, Interval) else cell_text(cell)


def _rich_table(table: Table, text: Callable[[Cell], str], name_width: int = UNBOUNDED) -> RichTable:
    """Return a table for the terminal; cells that do not fit are wrapped, never cut."""
    shown = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in table.columns:
        shown.add_column(Text(column), overflow="fold")
    for heading, rows in table.groups.items():
        if heading:
            shown.add_row(Text(heading, style="bold"))
        for name, *cells in (map(text, row) for row in rows):
            lines = fill(name, name_width, break_long_words=False)
            shown.add_row(Text(indent(lines, "  ") if heading else lines), *map(Text, cells))
    return shown


def _paragraphs(entries: Sequence[tuple[str, str]]) -> RichTable:
    """Return paragraphs with marks, with all lines aligned at the same column."""
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    for mark, text in entries:
        grid.add_row(Text(mark), Text(text, overflow="fold"))
    return grid
