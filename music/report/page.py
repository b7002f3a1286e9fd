"""`Report`, the content of a page, and `write_report`, which writes one HTML file, its plots and its numbers."""

import csv
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from music.report.table import Table, cell_kind, cell_text

__all__ = ["Plot", "Report", "write_report"]

LONG = 60
"""Tables with at least this many rows are collapsed."""
SUFFIXES = (".csv", ".png", ".svg")
SCALE = 2.0
"""Pixels of a PNG for each pixel of the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A plot.

    Attributes:
        title: Title of the plot.
        caption: What is shown, and how to read it.
        chart: The plot in Vega-Lite; see `intervals`, `curves`, `histograms` and `matrix`.
        rows: The plotted numbers, for CSV; all rows have the same keys.
    """

    title: str
    caption: str
    chart: Mapping[str, Any]
    rows: Sequence[Mapping[str, str | float | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A page.

    Attributes:
        title: Title of the page.
        intro: What was done, in a paragraph.
        warnings: What makes the results wrong or doubtful, in sentences; shown first.
        findings: The results, in sentences.
        links: The file names of further pages beside it, by the text of their links.
        parts: Plots and tables.
        notes: Exclusions with their counts, settings, versions and the like, by name.
    """

    title: str
    intro: str
    warnings: Sequence[str] = ()
    findings: Sequence[str] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    parts: Sequence[Plot | Table]
    notes: Mapping[str, str] = field(default_factory=dict)


def write_report(report: Report, path: Path) -> None:
    """Write a report to `path`, and every plot (PNG, SVG) and all numbers (CSV) to a folder of the same name.

    The page is about 1 MB, including the plotting library, and loads nothing from the network.

    Args:
        report: The content.
        path: The page, for example `report.html`; the other files are written to `report/`.

    Raises:
        OSError: A file cannot be written.
    """
    folder = path.with_suffix("")
    _clear(folder)
    parts = [part for part in report.parts if (part.num_rows if isinstance(part, Table) else part.rows)]
    for number, part in enumerate(parts, start=1):
        slug = re.sub(r"[^a-z0-9]+", "-", part.title.lower()).strip("-")[:60]
        _write_part(part, folder / f"{number:02}-{slug}")
    notes = {
        **{name: note for name, note in report.notes.items() if note},
        "Beside this page": f"In {folder.name}: each plot as PNG and SVG, and all numbers as CSV.",
    }
    if (program := Path(sys.argv[0]).name) == "music":
        notes["Command"] = shlex.join([program, *sys.argv[1:]])
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("music.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.jinja").render(
        report=report,
        parts=[(type(part).__name__, part) for part in parts],
        notes=notes,
        library=Markup(_library()) if any(isinstance(part, Plot) for part in parts) else "",
        cell_kind=cell_kind,
        cell_text=cell_text,
        long=LONG,
    )
    path.write_text(page, encoding="utf-8")


def _clear(folder: Path) -> None:
    """Make the folder, and delete the files of an earlier report in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("[0-9][0-9]-*"):
        if old.suffix in SUFFIXES:
            old.unlink()


def _write_part(part: Plot | Table, stem: Path) -> None:
    """Write a plot's pictures and numbers, or a table's cells."""
    if isinstance(part, Table):
        _write_csv(part.spread(), stem)
        return
    _write_csv([list(part.rows[0]), *(row.values() for row in part.rows)], stem)
    drawn = vl_convert.vegalite_to_svg(dict(part.chart))
    stem.with_suffix(".svg").write_text(drawn, encoding="utf-8")
    stem.with_suffix(".png").write_bytes(vl_convert.svg_to_png(drawn, scale=SCALE))


def _write_csv(rows: Iterable[Iterable[Any]], stem: Path) -> None:
    with stem.with_suffix(".csv").open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows(rows)


@cache
def _library() -> str:
    """Return the plotting library as a script."""
    return vl_convert.javascript_bundle("window.embed = vegaEmbed;")
