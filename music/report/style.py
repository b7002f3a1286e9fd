"""The look of all plots: for light and dark backgrounds, with the same colour for a model everywhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from textwrap import wrap
from typing import Any

import altair as alt

from music.report.points import Point, names_of

__all__ = [
    "CHARACTER",
    "GREY",
    "INK",
    "LINES",
    "Palette",
    "highlighted",
    "legend",
    "panelled",
    "shape",
    "styled",
    "tooltip",
]
__all__ += ["wrapped"]

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8a8a")
"""Okabe and Ito's colours for colour-blind readers, without black and yellow, which vanish on one background."""
SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "triangle-left", "triangle-right")
GREY = "#8a8a8a"
SHORT = (
    "length(datum.label) > 48 && indexof(datum.label, ' ') < 0"
    " ? slice(datum.label, 0, 16) + '…' + slice(datum.label, -30) : datum.label"
)
"""Vega expression for a label; long paths are shortened in the middle."""
LINES = rf"split({SHORT}, '\n')"
"""Vega expression for a label of several lines."""
CHARACTER = 6.7
"""Mean width of a character in pixels."""
INK = "currentColor"
"""The text colour of the page; black in a file of its own."""


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of a report's models; after the seventh they repeat, with other shapes."""

    names: Sequence[str]

    @property
    def colors(self) -> alt.Scale:
        """The scale that maps a model to its colour."""
        return alt.Scale(domain=list(self.names), range=[self.color(name) for name in self.names])

    def color(self, name: str) -> str:
        """Return the colour of a model; grey for any other name."""
        return COLORS[self.names.index(name) % len(COLORS)] if name in self.names else GREY


def wrapped(name: str, pixels: float) -> str:
    """Return a name in lines of at most this width; a word is never divided."""
    return "\n".join(wrap(name, int(pixels / CHARACTER), break_long_words=False, break_on_hyphens=False)) or name


def shape(points: Sequence[Point], palette: Palette) -> alt.Shape:
    """Return the shapes of the variants, or of the series if there are no variants."""
    variants = names_of(points, "variant")
    if len(variants) > 1:
        return alt.Shape("variant:N", scale=_shape_scale(variants), legend=legend(variants))
    return alt.Shape("series:N", scale=_shape_scale(palette.names), legend=legend(names_of(points, "series")))


def _shape_scale(names: Sequence[str]) -> alt.Scale:
    """Return a scale from names to shapes."""
    return alt.Scale(domain=list(names), range=list(islice(cycle(SHAPES), len(names))))


def legend(present: Sequence[str]) -> alt.Legend | None:
    """Return a legend of a plot's names; None for a single name."""
    return alt.Legend(title=None, values=list(present), labelExpr=SHORT) if len(present) > 1 else None


def highlighted() -> tuple[alt.Parameter, Any]:
    """Return the selection of a series by a click on the legend, and the opacity that fades the others."""
    chosen = alt.selection_point(name="chosen", fields=["series"], bind="legend")
    return chosen, alt.when(chosen).then(alt.value(1)).otherwise(alt.value(0.15))


def tooltip(points: Sequence[Point]) -> list[alt.Tooltip]:
    """Return the tooltip of a point: its names and numbers."""
    titles = {"place": "at", "panel": "in", "series": "of", "variant": "with", "estimate": "95% interval", "n": "n"}
    unnamed = [field for field in ("panel", "series", "variant") if not any(names_of(points, field))]
    return [alt.Tooltip(f"{field}:N", title=title) for field, title in titles.items() if field not in unnamed]


def panelled(
    layers: Sequence[alt.Chart],
    rows: Sequence[Any],
    panels: Sequence[str],
    *,
    width: int | alt.Step,
    height: int | alt.Step,
    num_columns: int = 3,
) -> Any:
    """Overlay marks, in a panel for each name.

    Args:
        layers: Marks with the same data.
        rows: The data; `panel` is the panel of each row.
        panels: Names in reading order; long names are divided into lines.
        width: Width of a panel, in pixels.
        height: Height of a panel, in pixels.
        num_columns: Panels side by side; a narrow page has fewer.
    """
    layered = alt.layer(*layers, width=width, height=height)
    titles = {panel: wrapped(panel, width) if isinstance(width, int) else panel for panel in panels}
    data = alt.Data(values=[row | {"panel": titles[row["panel"]]} for row in rows])
    if len(panels) == 1:
        titled = layered.properties(title=titles[panels[0]].split("\n")) if panels[0] else layered
        return titled.properties(data=data)
    facet = alt.Facet("panel:N", title=None, sort=list(titles.values()), header=alt.Header(labelExpr=LINES))
    return layered.facet(facet=facet, data=data, columns=num_columns).resolve_axis(x="independent")


def styled(chart: Any, *, margin: int, panel: int) -> dict[str, Any]:
    """Apply the look to a plot, and return it in Vega-Lite.

    Args:
        chart: A plot of one or more panels.
        margin: Width of the labels beside the panels, in pixels; a narrow page fits the panels into the rest.
        panel: Width of a panel, in pixels.
    """
    axis = {"domainColor": GREY, "tickColor": GREY, "gridColor": "rgba(128,128,128,.22)", "titleFontWeight": "normal"}
    text = {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontSize": 12}
    configured = chart.configure(
        font="sans-serif",
        axis=axis | text | {"labelLimit": 260, "labelSeparation": 6},
        header=text | {"labelFontWeight": "bold", "labelAnchor": "start", "labelLimit": 400},
        title={"color": INK, "fontSize": 12, "anchor": "start", "frame": "group", "limit": 460},
        legend=text | {"orient": "top", "direction": "horizontal", "labelLimit": 300, "columns": 4},
        view={"stroke": "transparent"},
    ).properties(usermeta={"margin": margin, "panel": panel})
    spec: dict[str, Any] = configured.to_dict()
    return spec
