"""The demo's plots: accuracy by the turn of the defect, and Best-of-N, both with their 95% intervals."""

from music.report import Palette, Plot, Point, curves, intervals
from music_trainers.demo.records import DemoResult

__all__ = ["best_of_n_plot", "defects_plot", "palette"]

BLIND = 0.5


def palette(result: DemoResult) -> Palette:
    """Return the colours of the models and of the other selectors."""
    names = [*(row.model for row in result.defects), *(row.selector for row in result.best_of_n)]
    return Palette(list(dict.fromkeys(names)))


def defects_plot(result: DemoResult) -> Plot:
    """Draw accuracy by turn: a panel for each kind of defect, a line for each model."""
    return curves(
        [
            Point(place=row.turn, estimate=row.estimate, series=row.model, panel=row.group, reference=BLIND)
            for row in result.defects
        ],
        title="Plot: accuracy by turn",
        caption="How often a model ranks the flawless side above one with a single defect at that turn; the dashed "
        "line is what a model blind to it would get. Hover a point for its interval, click a name to single it out.",
        x="turn that holds the defect",
        y="accuracy",
        palette=palette(result),
        reference="blind",
    )


def best_of_n_plot(result: DemoResult) -> Plot:
    """Draw mean oracle scores: a panel for each protocol, a row for each selector, a shape for each N."""
    return intervals(
        [
            Point(
                place=row.selector,
                estimate=row.score,
                series=row.selector,
                panel=row.protocol,
                variant=f"N={row.num_candidates}",
            )
            for row in result.best_of_n
        ],
        title="Plot: Best-of-N",
        caption="What the true score of the selected conversations was. greedy: at each turn the best of N replies is "
        "kept (the paper's protocol); whole: the best of N finished conversations.",
        x="mean oracle score",
        palette=palette(result),
        num_columns=2,
    )
