"""Printing a result in the terminal: tables, findings, and the path of the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from music.report import Table, cell_text

__all__ = ["print_result"]


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
    for table in tables:
        console.print(Text(table.title, style="bold"))
        console.print(_rich_table(table))
        console.print(Text(table.caption, style="dim"), end="\n\n")
    console.print(Text("Findings", style="bold"))
    console.print(_paragraphs([("-", finding) for finding in findings]))
    if notes:
        console.print()
        console.print(_paragraphs([*notes.items()]))
    console.print(Text(f"Report    {report}"), soft_wrap=True)


def _rich_table(table: Table) -> RichTable:
    """Return a table for the terminal; cells that do not fit are wrapped, never cut."""
    shown = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in table.columns:
        shown.add_column(Text(column), overflow="fold")
    for heading, rows in table.groups.items():
        if heading:
            shown.add_row(Text(heading, style="bold"))
        for name, *cells in (map(cell_text, row) for row in rows):
            shown.add_row(Text(f"  {name}" if heading else name), *map(Text, cells))
    return shown


def _paragraphs(entries: Sequence[tuple[str, str]]) -> RichTable:
    """Return paragraphs with marks, with all lines aligned at the same column."""
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    for mark, text in entries:
        grid.add_row(Text(mark), Text(text, overflow="fold"))
    return grid
