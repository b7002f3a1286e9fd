"""Estimates with their intervals, a row for each name: figures, scores, differences."""

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from music.report.page import Plot
from music.report.points import Point, names_of, numbers
from music.report.style import (
    CHARACTER,
    GREY,
    LINES,
    Palette,
    highlighted,
    legend,
    panelled,
    shape,
    styled,
    tooltip,
    wrapped,
)

__all__ = ["intervals"]

LABELS = 210
"""Largest width of the labels of the rows, in pixels."""
WIDE, NARROW = 420, 230
STEP = 14
"""Height of a line in pixels. A row has a line for each of its points, and room for each line of its label."""


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
        size: dict[str, Any] = {"width": NARROW, "height": _height(points)}
        layers = _layers(points, points, x, palette, is_first=True)
        chart = panelled(layers, _data(points), panels, num_columns=num_columns, **size)
    else:
        chart = alt.vconcat(*_stacked(points, panels, x, palette))
    if len(panels) > 1:
        apart: Any = "shared" if num_columns > 1 else "independent"  # rows of their own may differ in height
        chart = chart.resolve_scale(x="shared" if shares_x else "independent", yOffset=apart)
    return Plot(
        title=title,
        caption=caption,
        chart=styled(chart, margin=_margin(points), panel=NARROW if num_columns > 1 else WIDE),
        rows=numbers(points),
    )


def _layers(
    own: Sequence[Point], points: Sequence[Point], x: str | None, palette: Palette, *, is_first: bool
) -> list[alt.Chart]:
    """Return the marks of a panel's own points: references, intervals, values."""
    middle = alt.expr(f"{-STEP / 2} * (length(split(datum.value, '\\n')) - 1)")
    axis = alt.Axis(grid=True, tickBand="extent", labelExpr=LINES, labelOffset=middle)
    places = [_label(place) for place in names_of(own, "place")]
    y: dict[str, Any] = {
        "y": alt.Y("place:N", title=None, scale=alt.Scale(domain=places), axis=axis),
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
            x=alt.X("value:Q", title=x, scale=alt.Scale(zero=False, nice=False, padding=8), axis=alt.Axis(tickCount=5)),
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
        yield alt.layer(
            *layers,
            data=alt.Data(values=_data(own)),
            title=wrapped(panel, WIDE).split("\n"),
            width=WIDE,
            height=_height(own),
        )


def _label(place: str | float) -> str:
    return wrapped(str(place), LABELS)


def _margin(points: Sequence[Point]) -> int:
    """Return the width of the labels of the rows, in pixels."""
    lines = [line for point in points for line in _label(point.place).split("\n")]
    return min(LABELS, round(CHARACTER * max(map(len, lines)))) + 20


def _height(points: Sequence[Point]) -> alt.Step:
    """Return the height of a line: at least that of a point, and of the lines of the longest label."""
    num_lines = max(_label(point.place).count("\n") + 1 for point in points)
    num_points = max(row["line"] + 1 for row in _data(points))
    return alt.Step(max(STEP, STEP * num_lines / num_points), **{"for": "offset"})


def _data(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Return the data; points of a row that differ in series or variant get lines below each other."""
    rows: dict[tuple[str, str | float], list[tuple[str, str]]] = {}
    data = []
    for point in points:
        lines = rows.setdefault((point.panel, point.place), [])
        if (point.series, point.variant) not in lines:
            lines.append((point.series, point.variant))
        line = {"line": lines.index((point.series, point.variant)), "place": _label(point.place)}
        data.append(point.row() | line | {"estimate": str(point.estimate)})
    return data
