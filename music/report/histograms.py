"""How often a quantity takes which values, on both sides of the pairs."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import altair as alt

from music.evaluation.curves import Histogram
from music.report.report import Plot
from music.report.style import INK, Palette, panelled, styled

__all__ = ["histograms"]

MARGIN = 70
WIDTH, HEIGHT = 270, 160


def histograms(by_panel: Mapping[str, Histogram], *, title: str, caption: str, palette: Palette) -> Plot:
    """Draw a histogram in each panel: what was chosen as filled bars, what was rejected as an outline.

    Args:
        by_panel: Counts of `chosen` and `rejected`; a panel that is named after a model has its colour.
        title: Of the plot.
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
    chart = panelled([bars, outline], rows, list(by_panel), width=WIDTH, height=HEIGHT)
    if len(by_panel) > 1:
        chart = chart.resolve_scale(x="independent", y="independent")
    return Plot(title=title, caption=caption, chart=styled(chart, margin=MARGIN, panel=WIDTH), rows=rows)


def _rows(panel: str, histogram: Histogram) -> Iterator[dict[str, Any]]:
    """Yield the bins, and behind the last a point that lets the outline end on the axis."""
    edges, last = [*pairwise(histogram.edges)], histogram.edges[-1]
    for (low, high), chosen, rejected in zip(
        [*edges, (last, last)],
        [*histogram.counts["chosen"], 0],
        [*histogram.counts["rejected"], 0],
        strict=True,
    ):
        yield {"panel": panel, "low": low, "high": high, "chosen": chosen, "rejected": rejected}
