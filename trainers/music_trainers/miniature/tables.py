"""Results as tables in the terminal."""

from collections.abc import Sequence

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from music.report import Table, cell_text

__all__ = ["list_grid", "rich_table"]


def rich_table(table: Table) -> RichTable:
    """Return a table for the terminal; a cell that does not fit goes over several lines, never cut."""
    shown = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in table.columns:
        shown.add_column(Text(column), overflow="fold")
    for heading, rows in table.groups.items():
        if heading:
            shown.add_row(Text(heading, style="bold"))
        for name, *cells in (map(cell_text, row) for row in rows):
            shown.add_row(Text(f"  {name}" if heading else name), *map(Text, cells))
    return shown


def list_grid(entries: Sequence[tuple[str, str]]) -> RichTable:
    """Return marked paragraphs whose lines all begin at the same column."""
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    for mark, text in entries:
        grid.add_row(Text(mark), Text(text, overflow="fold"))
    return grid
