"""Plots made of rectangles: histograms of chosen and rejected sides, and matrices of coloured cells."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import altair as alt

from music.report.page import Plot
from music.report.points import Histogram, Point, names_of, numbers
from music.report.style import INK, Palette, panelled, styled, tooltip, wrapped

__all__ = ["histograms", "matrix"]

BINS_MARGIN, BINS_WIDTH, BINS_HEIGHT = 70, 270, 160
CELLS_MARGIN, CELL_WIDTH, CELL_HEIGHT, TITLE_WIDTH = 150, 42, 24, 120
"""In pixels."""


def histograms(by_panel: Mapping[str, Histogram], *, title: str, caption: str, palette: Palette) -> Plot:
    """Draw a histogram in each panel: the chosen sides as filled bars, the rejected sides as an outline.

    Args:
        by_panel: Counts of `chosen` and `rejected`; a panel named after a model has its colour.
        title: Title of the plot.
        caption: How to read it.
        palette: The colours of the models.
    """
    rows = [row for panel, histogram in by_panel.items() for row in _rows(panel, histogram)]
    x = alt.X("low:Q", title=next(iter(by_panel.values())).x, axis=alt.Axis(grid=False, tickCount=5))
    colors = alt.Scale(domain=list(by_panel), range=[palette.color(panel) for panel in by_panel])
    ends = [alt.Tooltip(f"{end}:Q", format=".3~g") for end in ("low", "high")]
    bars = (
        alt.Chart()
        .mark_rect(opacity=0.6)
        .encode(
            x=x,
            x2="high:Q",
            y=alt.Y("chosen:Q", title="how many"),
            y2=alt.datum(0),
            color=alt.Color("panel:N", scale=colors, legend=None),
            tooltip=[*ends, "chosen:Q", "rejected:Q"],
        )
    )
    outline = alt.Chart().mark_line(interpolate="step-after", color=INK, strokeWidth=1.3).encode(x=x, y="rejected:Q")
    chart = panelled([bars, outline], rows, list(by_panel), width=BINS_WIDTH, height=BINS_HEIGHT)
    if len(by_panel) > 1:
        chart = chart.resolve_scale(x="independent", y="independent")
    return Plot(title=title, caption=caption, chart=styled(chart, margin=BINS_MARGIN, panel=BINS_WIDTH), rows=rows)


def _rows(panel: str, histogram: Histogram) -> Iterator[dict[str, Any]]:
    """Yield the bins, and after the last a point that makes the outline end on the axis."""
    edges, last = [*pairwise(histogram.edges)], histogram.edges[-1]
    for (low, high), chosen, rejected in zip(
        [*edges, (last, last)],
        [*histogram.counts["chosen"], 0],
        [*histogram.counts["rejected"], 0],
        strict=True,
    ):
        yield {"panel": panel, "low": low, "high": high, "chosen": chosen, "rejected": rejected}


def matrix(points: Sequence[Point], *, title: str, caption: str, x: str, middle: float = 0.5) -> Plot:
    """Draw points as cells: `series` is the row, `place` the column; the colour changes at `middle`.

    Args:
        points: Values in [0, 1].
        title: Title of the plot.
        caption: How to read it.
        x: Title of the columns.
        middle: The neutral value, for example the value by chance.
    """
    panel = CELL_WIDTH * len({point.place for point in points})
    titles = {name: wrapped(name, max(panel, TITLE_WIDTH)) for name in names_of(points, "panel")}
    data = [point.row() | {"estimate": str(point.estimate), "panel": titles[point.panel]} for point in points]
    places: dict[str, Any] = {
        "x": alt.X("place:O", title=x, axis=alt.Axis(labelAngle=0)),
        "y": alt.Y("series:N", title=None, sort=names_of(points, "series")),
    }
    scale = alt.Scale(scheme="blueorange", reverse=True, domain=[0, 1], domainMid=middle)
    is_strong = f"abs(datum.value - {middle}) > 0.36"
    cells = (
        alt.Chart()
        .mark_rect()
        .encode(
            color=alt.Color("value:Q", scale=scale, legend=None),
            tooltip=tooltip(points),
            **places,
        )
    )
    text = (
        alt.Chart()
        .mark_text(fontSize=11)
        .encode(
            text=alt.Text("value:Q", format=".2f"),
            color=alt.when(is_strong).then(alt.value("white")).otherwise(alt.value("black")),
            **places,
        )
    )
    chart = panelled(
        [cells, text], data, list(titles.values()), width=alt.Step(CELL_WIDTH), height=alt.Step(CELL_HEIGHT)
    )
    return Plot(
        title=title, caption=caption, chart=styled(chart, margin=CELLS_MARGIN, panel=panel), rows=numbers(points)
    )
