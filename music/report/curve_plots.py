"""Estimates as a function of a number: accuracy by turn, reward by length, a training run by step."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, Literal

import altair as alt

from music.report.page import Plot
from music.report.points import Point, names_of, numbers
from music.report.style import GREY, INK, Palette, highlighted, legend, panelled, shape, styled, tooltip

__all__ = ["curves"]

MARGIN = 70
WIDTH, HEIGHT = 270, 230
DODGE = 1 / 60
"""Distance between series at the same place, as a share of the axis, so that intervals do not cover each other."""
MAX_TICKS = 10
LINE = 14
"""Height of a line of labels in pixels."""
DASHES = ([1, 0], [5, 3], [2, 2])
"""The line styles of the variants."""

Row = dict[str, Any]


def curves(
    points: Sequence[Point],
    *,
    title: str,
    caption: str,
    x: str,
    y: str,
    palette: Palette,
    reference: str = "",
    marks: Mapping[str, float] | None = None,
    is_diagonal: bool = False,
    shares_x: bool = True,
    shares_y: bool = True,
) -> Plot:
    """Draw a line for each series, in a panel for each `Point.panel`.

    Args:
        points: The estimates; `place` is the position along the axis.
        title: Title of the plot.
        caption: How to read it.
        x: Title of the x axis.
        y: Title of the y axis.
        palette: The colours of the series.
        reference: Label of `Point.reference`, in a word.
        marks: Positions along the axis to mark, by label.
        is_diagonal: Whether y should equal x; a line shows where it does.
        shares_x: Whether all panels have one x scale; otherwise `Point.panel` names the axis.
        shares_y: Whether all panels have one y scale.
    """
    panels = names_of(points, "panel")
    data = [*_data(points), *_marks(points, marks or {}), *(_reference_labels(points) if reference else [])]
    layers = [*_references(points, reference), *(_mark_layers() if marks else []), *_lines(points, x, y, palette)]
    if is_diagonal:
        layers.insert(0, alt.Chart().mark_line(color=GREY, strokeDash=[4, 3]).encode(x="place:Q", y="place:Q"))
    chart = panelled(layers, data, panels, width=WIDTH, height=HEIGHT)
    if len(panels) > 1:
        chart = chart.resolve_scale(x=_resolved(shares_x), y=_resolved(shares_y))
    return Plot(title=title, caption=caption, chart=styled(chart, margin=MARGIN, panel=WIDTH), rows=numbers(points))


def _lines(points: Sequence[Point], x: str, y: str, palette: Palette) -> list[alt.Chart]:
    """Return the intervals, the lines and the values."""
    series, variants = (names_of(points, field) for field in ("series", "variant"))
    dash = alt.StrokeDash("variant:N", scale=alt.Scale(domain=variants, range=DASHES), legend=legend(variants))
    chosen, opacity = highlighted()
    scale = alt.Scale(zero=False, nice=False, padding=10)
    shared: dict[str, Any] = {
        "x": alt.X("dodged:Q", title=x or None, scale=scale, axis=_axis(points)),
        "color": alt.Color("series:N", scale=palette.colors, legend=legend(series)),
        "opacity": opacity,
    }
    value = alt.Y("value:Q", title=y or None, scale=alt.Scale(zero=False, nice=False, padding=8))
    return [
        alt.Chart().mark_rule(strokeWidth=1.2).encode(y="low:Q", y2="high:Q", **shared).add_params(chosen),
        alt.Chart().mark_line(strokeWidth=1.6).encode(y=value, strokeDash=dash, **shared),
        alt.Chart()
        .mark_point(size=45, filled=True)
        .encode(
            y=value,
            shape=shape(points, palette),
            tooltip=tooltip(points),
            **shared,
        ),
    ]


def _references(points: Sequence[Point], name: str) -> list[alt.Chart]:
    """Return the reference level of each panel that has one."""
    if all(point.reference is None for point in points):
        return []
    level = alt.Chart().mark_rule(color=GREY, strokeDash=[4, 3]).encode(y="mean(reference):Q")
    if not name:
        return [level]
    look: Row = {
        "align": alt.expr("datum.is_left ? 'left' : 'right'"),
        "baseline": alt.expr("datum.is_high ? 'top' : 'bottom'"),
        "dy": alt.expr("datum.is_high ? 4 : -4"),
    }
    text = alt.Chart().transform_filter("isValid(datum.label_y)").mark_text(**look, color=INK, fontSize=11)
    return [level, text.encode(x="dodged:Q", y="label_y:Q", text=alt.value(name))]


def _reference_labels(points: Sequence[Point]) -> Iterator[Row]:
    """Yield the place of each panel's reference label: where the curves are far from it, towards the middle."""
    for panel in names_of(points, "panel"):
        own = [point for point in points if point.panel == panel and point.reference is not None]
        if not own:
            continue
        level = fmean(point.reference for point in own if point.reference is not None)
        first, last = _extent(points, panel)
        room = {
            end: min(abs(each.estimate.value - level) for each in own if each.place == end) for end in (first, last)
        }
        values = [point.estimate.value for point in own]
        yield {
            "panel": panel,
            "dodged": max(room, key=lambda end: room[end]),
            "label_y": level,
            "is_left": room[first] >= room[last],
            "is_high": level > (min(values) + max(values)) / 2,
        }


def _mark_layers() -> list[alt.Chart]:
    """Return lines at the marked positions, with their labels above the panel."""
    shown = alt.Chart().transform_filter("isValid(datum.mark)")
    look: Row = {"baseline": "bottom", "color": INK, "fontSize": 11}
    side: Row = {"align": alt.expr("datum.is_late ? 'right' : 'left'")}
    return [
        shown.mark_rule(color=GREY, strokeDash=[2, 3]).encode(x="dodged:Q"),
        shown.mark_text(**look, **side).encode(x="dodged:Q", y=alt.Y("row:Q", scale=None), text="mark:N"),
    ]


def _data(points: Sequence[Point]) -> list[Row]:
    """Return the data, with the lines slightly apart."""
    lines = list(dict.fromkeys((point.series, point.variant) for point in points))
    extents = {panel: _extent(points, panel) for panel in names_of(points, "panel")}
    data: list[Row] = []
    for point in points:
        low, high = extents[point.panel]
        aside = DODGE * (high - low) * (lines.index((point.series, point.variant)) - (len(lines) - 1) / 2)
        data.append(point.row() | {"dodged": float(point.place) + aside, "estimate": str(point.estimate)})
    return data


def _extent(points: Sequence[Point], panel: str) -> tuple[float, float]:
    """Return the first and the last place of a panel."""
    places = [float(point.place) for point in points if point.panel == panel]
    return min(places), max(places)


def _marks(points: Sequence[Point], marks: Mapping[str, float]) -> list[Row]:
    """Return the data of the marks; labels are in lines of their own, on the side that has room."""
    return [
        {
            "panel": panel,
            "mark": name,
            "dodged": place,
            "row": -LINE * row - 3,
            "is_late": place > sum(_extent(points, panel)) / 2,
        }
        for panel in names_of(points, "panel")
        for row, (name, place) in enumerate(marks.items())
    ]


def _axis(points: Sequence[Point]) -> alt.Axis:
    """Return an axis; a few whole numbers, such as turns, get a tick each."""
    places = sorted({float(point.place) for point in points})
    if len(places) <= MAX_TICKS and all(place.is_integer() for place in places):
        return alt.Axis(values=places, format="d", grid=False)
    return alt.Axis(grid=False, tickCount=5, format=",~r")


def _resolved(is_shared: bool) -> Literal["shared", "independent"]:
    return "shared" if is_shared else "independent"
