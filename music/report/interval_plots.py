"""Estimates with their intervals, a row for each name: figures, scores, differences."""

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from music.report.page import Plot
from music.report.points import Point, names_of, numbers
from music.report.style import GREY, Palette, highlighted, legend, panelled, shape, styled, tooltip

__all__ = ["intervals"]

MARGIN = 270
WIDE, NARROW = 420, 230
STEP = 14
"""Height of a line in pixels; a row has a line for each of its points."""


def intervals(
    points: Sequence[Point],
    *,
    title: str,
    caption: str,
    x: str,
    palette: Palette,
    num_columns: int = 1,
    shares_x: bool = True,
) -> Plot:
    """Draw points in rows, a panel for each `Point.panel`, with a tick at each reference value.

    Args:
        points: The estimates; `place` names their rows, from top to bottom.
        title: Title of the plot.
        caption: How to read it.
        x: Title of the x axis.
        palette: The colours of the series.
        num_columns: Panels side by side, which share their rows. With 1, each panel has its own rows.
        shares_x: Whether all panels have one x scale.
    """
    panels = names_of(points, "panel")
    if num_columns > 1:
        size: dict[str, Any] = {"width": NARROW, "height": _height()}
        layers = _layers(points, points, x, palette, is_first=True)
        chart = panelled(layers, _data(points), panels, num_columns=num_columns, **size)
    else:
        chart = alt.vconcat(*_stacked(points, panels, x, palette))
    if len(panels) > 1:
        chart = chart.resolve_scale(x="shared" if shares_x else "independent")
    return Plot(
        title=title,
        caption=caption,
        chart=styled(chart, margin=MARGIN, panel=NARROW if num_columns > 1 else WIDE),
        rows=numbers(points),
    )


def _layers(
    own: Sequence[Point], points: Sequence[Point], x: str | None, palette: Palette, *, is_first: bool
) -> list[alt.Chart]:
    """Return the marks of a panel's own points: references, intervals, values."""
    axis = alt.Axis(grid=True, tickBand="extent")
    y: dict[str, Any] = {
        "y": alt.Y("place:N", title=None, scale=alt.Scale(domain=names_of(own, "place")), axis=axis),
        "yOffset": alt.YOffset("line:O"),
    }
    series = names_of(points, "series")
    color = alt.Color("series:N", scale=palette.colors, legend=legend(series))
    filled: Any = alt.when("datum.is_clear").then(alt.Fill("series:N", scale=palette.colors, legend=legend(series)))
    chosen, opacity = highlighted()
    rules = alt.Chart().mark_rule(strokeWidth=1.5).encode(x="low:Q", x2="high:Q", color=color, opacity=opacity, **y)
    if is_first:  # all panels share one selection
        rules = rules.add_params(chosen)
    marks = (
        alt.Chart()
        .mark_point(size=50, strokeWidth=1.5)
        .encode(
            x=alt.X("value:Q", title=x, scale=alt.Scale(zero=False, nice=False, padding=8)),
            color=color,
            shape=shape(points, palette),
            fill=filled.otherwise(alt.value("transparent")),
            opacity=opacity,
            tooltip=tooltip(points),
            **y,
        )
    )
    ticks = alt.Chart().mark_tick(color=GREY, thickness=1.5, size=STEP).encode(x="reference:Q", **y)
    return [*([ticks] if any(point.reference is not None for point in own) else []), rules, marks]


def _stacked(points: Sequence[Point], panels: Sequence[str], x: str, palette: Palette) -> Iterator[Any]:
    """Yield panels with rows of their own; the last has the axis title."""
    for panel in panels:
        own = [point for point in points if point.panel == panel]
        title = x if panel == panels[-1] else None
        layers = _layers(own, points, title, palette, is_first=panel == panels[0])
        yield alt.layer(*layers, data=alt.Data(values=_data(own)), title=panel, width=WIDE, height=_height())


def _height() -> alt.Step:
    return alt.Step(STEP, **{"for": "offset"})


def _data(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Return the data; points of a row that differ in series or variant get lines below each other."""
    series: dict[tuple[str, str | float], set[str]] = {}
    for point in points:
        series.setdefault((point.panel, point.place), set()).add(point.series)
    is_one_each = all(len(names) == 1 for names in series.values())
    lines = [("" if is_one_each else point.series, point.variant) for point in points]
    order = list(dict.fromkeys(lines))
    return [
        point.row() | {"line": order.index(line), "estimate": str(point.estimate)}
        for point, line in zip(points, lines, strict=True)
    ]
