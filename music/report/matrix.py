"""Shares as colours: a cell for each row and column, a panel for each kind."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from music.report.points import Point, names_of, numbers
from music.report.report import Plot
from music.report.style import panelled, styled, tooltip

__all__ = ["matrix"]

MARGIN = 150
WIDTH, HEIGHT = 42, 24
"""Of a cell, in pixels."""


def matrix(points: Sequence[Point], *, title: str, caption: str, x: str, middle: float = 0.5) -> Plot:
    """Draw points as cells: `series` is the row, `place` the column; the colour turns at `middle`.

    Args:
        points: Values in [0, 1].
        title: Of the plot.
        caption: How to read it.
        x: What the columns are.
        middle: For example what chance comes to.
    """
    data = [point.row() | {"estimate": str(point.estimate)} for point in points]
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
    panels = names_of(points, "panel")
    chart = panelled([cells, text], data, panels, width=alt.Step(WIDTH), height=alt.Step(HEIGHT))
    panel = WIDTH * len({point.place for point in points})
    return Plot(title=title, caption=caption, chart=styled(chart, margin=MARGIN, panel=panel), rows=numbers(points))
