"""`Report`: what a page holds, in the order of reading."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from music.report.table import Table

__all__ = ["Plot", "Report"]


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
