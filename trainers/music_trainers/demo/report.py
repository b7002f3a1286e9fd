"""The demo's result for people: tables in the terminal, and one HTML file with plots that needs no network."""

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from music_trainers.demo.plots import best_of_n_plot, defects_plot
from music_trainers.demo.records import DemoResult
from music_trainers.demo.tables import ResultTable, notes, tables

__all__ = ["REPORT_NAME", "render_terminal", "write_report"]

REPORT_NAME = "report.html"
"""The report's name in the demo's output folder."""


def render_terminal(result: DemoResult, console: Console) -> None:
    """Print tables, findings and notes; made for 100 columns, plain where the console is no terminal."""
    for table in tables(result):
        console.print(Text(table.title, style="bold"))
        console.print(_rich_table(table))
        console.print(Text(table.caption, style="dim"), end="\n\n")
    console.print(Text("Findings", style="bold"))
    console.print(_list([("-", finding) for finding in result.findings]))
    console.print()
    console.print(_list([*notes(result).items()]))
    # A path is for copying: never broken over lines.
    console.print(Text(f"Report    {result.config.out / REPORT_NAME}"), soft_wrap=True)


def write_report(result: DemoResult, path: Path) -> None:
    """Write the report as one HTML file (about 5 MB, the plotting library included), readable without a network.

    Raises:
        OSError: The file cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    template = environment.get_template("report.html.jinja")
    page = template.render(
        result=result,
        tables=tables(result),
        notes=notes(result),
        defects_plot=_embedded(defects_plot(result), "defects", with_library=True),
        best_of_n_plot=_embedded(best_of_n_plot(result), "best-of-n", with_library=False),
    )
    path.write_text(page, encoding="utf-8")


def _rich_table(table: ResultTable) -> Table:
    """Return a table for the terminal; a cell that does not fit goes over several lines, never cut."""
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in table.columns:
        shown.add_column(Text(column), overflow="fold")
    for heading, rows in table.groups.items():
        if heading:
            shown.add_row(Text(heading, style="bold"))
        for name, *cells in rows:
            shown.add_row(Text(f"  {name}" if heading else name), *map(Text, cells))
    return shown


def _list(entries: list[tuple[str, str]]) -> Table:
    """Return marked paragraphs whose lines all begin at the same column."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    for mark, text in entries:
        grid.add_row(Text(mark), Text(text, overflow="fold"))
    return grid


def _embedded(figure: Any, name: str, *, with_library: bool) -> Markup:
    """Return a plot as a piece of HTML; the page's first one carries the library."""
    html = figure.to_html(
        full_html=False, include_plotlyjs=with_library, config={"displayModeBar": False}, div_id=f"{name}-plot"
    )
    # Plotly writes the figure as JSON with every angle bracket escaped: no label can end its script.
    return Markup(html)
