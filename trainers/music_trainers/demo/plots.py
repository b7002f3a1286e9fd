"""The demo's plots: accuracy by the turn of the defect, and Best-of-N, both with their 95% intervals."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from music.evaluation import Estimate
from music_trainers.demo.records import DemoResult

__all__ = ["best_of_n_plot", "defects_plot"]

BLIND = 0.5
COLORS = ("#3b82f6", "#e4772e", "#22a06b", "#a855f7", "#c99a12", "#e0527a", "#7b8794")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")
GREY = "#888888"
DODGE = 0.1
"""Distance of series that share a tick, so that their intervals do not cover each other."""


def defects_plot(result: DemoResult) -> go.Figure:
    """Draw accuracy by turn: a panel per kind of defect, a line per model."""
    groups = list(dict.fromkeys(row.group for row in result.defects))
    models = list(dict.fromkeys(row.model for row in result.defects))
    figure = make_subplots(rows=1, cols=len(groups), shared_yaxes=True, subplot_titles=_labels(groups))
    for column, group in enumerate(groups, start=1):
        for index, model in enumerate(models):
            found = {row.turn: row.estimate for row in result.defects if (row.group, row.model) == (group, model)}
            turns = sorted(found)
            series = _series(index, model, [found[turn] for turn in turns], along="y", mode="lines+markers")
            figure.add_scatter(x=_dodged(turns, index, len(models)), **series, row=1, col=column)
    line = {"color": GREY, "dash": "dash"}
    figure.add_hline(BLIND, line=line, annotation_text="blind", annotation_position="bottom right")
    figure.update_xaxes(title_text="turn that holds the defect", tickvals=sorted({row.turn for row in result.defects}))
    figure.update_yaxes(range=[0, 1.03])
    figure.update_yaxes(title_text="accuracy", col=1)
    return _styled(figure, height=440)


def best_of_n_plot(result: DemoResult) -> go.Figure:
    """Draw mean oracle scores: a panel per protocol, a line of the axis per selector, a series per N."""
    protocols = list(dict.fromkeys(row.protocol for row in result.best_of_n))
    selectors = list(dict.fromkeys(row.selector for row in result.best_of_n))
    nums = sorted({row.num_candidates for row in result.best_of_n})
    figure = make_subplots(rows=1, cols=len(protocols), shared_yaxes=True, subplot_titles=_labels(protocols))
    for column, protocol in enumerate(protocols, start=1):
        for index, num in enumerate(nums):
            rows = [row for row in result.best_of_n if (row.protocol, row.num_candidates) == (protocol, num)]
            places = [selectors.index(row.selector) for row in rows]
            series = _series(index, f"N={num}", [row.score for row in rows], along="x", mode="markers")
            figure.add_scatter(y=_dodged(places, index, len(nums)), **series, row=1, col=column)
    figure.update_xaxes(title_text="mean oracle score")
    # Reversed, so that the first selector stands on top.
    figure.update_yaxes(
        tickvals=list(range(len(selectors))), ticktext=_labels(selectors), range=[len(selectors) - 0.5, -0.5]
    )
    return _styled(figure, height=160 + 40 * len(selectors))


def _series(index: int, name: str, estimates: Sequence[Estimate], along: str, mode: str) -> dict[str, Any]:
    """Return the look and the figures of one series; its values run along the axis `along`."""
    color = COLORS[index % len(COLORS)]
    return {
        along: [estimate.value for estimate in estimates],
        f"error_{along}": {
            "array": [_finite(estimate.high - estimate.value) for estimate in estimates],
            "arrayminus": [_finite(estimate.value - estimate.low) for estimate in estimates],
            "thickness": 1.2,
            "width": 3,
        },
        "mode": mode,
        "name": escape(name, quote=False),
        "legendgroup": name,
        "line": {"color": color, "width": 1.6},
        "marker": {"color": color, "symbol": SYMBOLS[index % len(SYMBOLS)], "size": 7},
        "text": [f"{estimate}, n = {estimate.num}" for estimate in estimates],
        "hovertemplate": "%{text}",
    }


def _finite(length: float) -> float:
    """Return a bar's length; none for an interval that is open."""
    return length if math.isfinite(length) else 0.0


def _dodged(places: Iterable[int], index: int, num: int) -> list[float]:
    """Move the places of the series `index` of `num` a little aside, around the tick."""
    return [place + DODGE * (index - (num - 1) / 2) for place in places]


def _labels(names: Iterable[str]) -> list[str]:
    """Return names as the plots take them: they read some markup in text."""
    return [escape(name, quote=False) for name in names]


def _styled(figure: go.Figure, height: int) -> go.Figure:
    """Give the figure a sober look on any background; text takes the page's colour, by its style sheet."""
    seen: set[str] = set()
    for trace in figure.data:  # each name once in the legend, in the first panel that has figures for it
        trace.showlegend = trace.name not in seen and len(trace.x or ()) > 0
        seen |= {trace.name} if trace.showlegend else set()
    axis = {"gridcolor": "rgba(128,128,128,.25)", "linecolor": GREY, "showline": True, "zeroline": False}
    figure.update_xaxes(**axis)
    figure.update_yaxes(automargin=True, **axis)
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 20, "r": 10, "t": 70, "b": 50},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "yref": "container", "y": 1, "yanchor": "top", "x": 0},
        hoverlabel={"bgcolor": "#333333"},
    )
    return figure
