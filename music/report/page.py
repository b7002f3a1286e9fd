"""`Report`: what a page holds; `write_report`: one HTML file that needs no network, plots and numbers beside it."""

import csv
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from music.report.table import Table, cell_text

__all__ = ["Plot", "Report", "write_report"]

LONG = 60
"""Rows from which on a table is folded up."""
SUFFIXES = (".csv", ".png", ".svg")
SCALE = 2.0
"""Of PNG: pixels for each pixel of the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A plot.

    Attributes:
        title: Stands above it.
        caption: What is shown, and how to read it.
        chart: The plot itself, in Vega-Lite; see `intervals`, `curves`, `histograms` and `matrix`.
        rows: The numbers in it, for CSV; all rows have the same keys.
    """

    title: str
    caption: str
    chart: Mapping[str, Any]
    rows: Sequence[Mapping[str, str | float | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A page.

    Attributes:
        title: Of the page.
        intro: What was done, in a paragraph.
        findings: What came out, in sentences.
        parts: Plots and tables.
        notes: What the figures rest on: exclusions with their counts, settings, versions; by name.
    """

    title: str
    intro: str
    findings: Sequence[str] = ()
    parts: Sequence[Plot | Table]
    notes: Mapping[str, str] = field(default_factory=dict)


def write_report(report: Report, path: Path) -> None:
    """Write a report: `path`, and in a folder of the same name every plot (PNG, SVG) and all numbers (CSV).

    The page is about 1 MB, the plotting library included, and asks for nothing from outside.

    Args:
        report: What to write.
        path: Of the page, for example `report.html`; the files beside it lie in `report/`.

    Raises:
        OSError: A file cannot be written.
    """
    folder = path.with_suffix("")
    _clear(folder)
    for number, part in enumerate(report.parts, start=1):
        _write_part(part, folder / f"{number:02}-{_slug(part.title)}")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("music.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.jinja").render(
        report=report,
        parts=[(type(part).__name__, part) for part in report.parts],
        notes={**report.notes, **_notes(folder)},
        library=Markup(_library()) if any(isinstance(part, Plot) for part in report.parts) else "",
        cell_text=cell_text,
        long=LONG,
    )
    path.write_text(page, encoding="utf-8")


def _clear(folder: Path) -> None:
    """Make the folder, without the files of a report that was written there before."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("[0-9][0-9]-*"):
        if old.suffix in SUFFIXES:
            old.unlink()


def _write_part(part: Plot | Table, stem: Path) -> None:
    """Write a plot as pictures and its numbers, or a table's cells."""
    if isinstance(part, Table):
        _write_csv(part.spread(), stem)
        return
    _write_csv(_listed(part), stem)
    drawn = vl_convert.vegalite_to_svg(dict(part.chart))
    stem.with_suffix(".svg").write_text(drawn, encoding="utf-8")
    stem.with_suffix(".png").write_bytes(vl_convert.svg_to_png(drawn, scale=SCALE))


def _listed(plot: Plot) -> Iterator[Iterable[Any]]:
    """Yield a plot's numbers, with their names first."""
    yield list(plot.rows[0])
    yield from (row.values() for row in plot.rows)


def _write_csv(rows: Iterable[Iterable[Any]], stem: Path) -> None:
    with stem.with_suffix(".csv").open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows(rows)


def _notes(folder: Path) -> dict[str, str]:
    """Say where the files are, and what command this is of."""
    notes = {"Beside this page": f"In {folder.name}: each plot as PNG and SVG, and all numbers as CSV."}
    program = Path(sys.argv[0]).name
    return notes | ({"Command": shlex.join([program, *sys.argv[1:]])} if program == "music" else {})


def _slug(title: str) -> str:
    """Return a title as a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60]


@cache
def _library() -> str:
    """Return the plotting library as a script."""
    return vl_convert.javascript_bundle("window.embed = vegaEmbed;")
