"""The report of `music diagnose`."""

from collections.abc import Iterator, Sequence
from textwrap import fill

from music.evaluation.diagnostics.disagreement import Disagreement
from music.evaluation.diagnostics.records import Diagnosis
from music.evaluation.diagnostics.tables import (
    family_note,
    leakage_account,
    model_account,
    pair_account,
)
from music.evaluation.report import figure_table
from music.report import Cell, Curve, Interval, Palette, Plot, Point, Report, Table, curves, histograms, intervals

__all__ = ["diagnosis_report"]

INTRO = (
    "What reward models rank right, and what they go by. Intervals are of 95%, from resampling whole prompts. A reward "
    "may go along with a shortcut because better replies do; what tells is where the shortcut points to the wrong side."
)
PANEL_CHARACTERS = 40
EVEN = 0.5
CAPTION = (
    "Above each panel: what runs along its axis. A point is a tenth of the observations, or one value. Dashed lines: "
    "chance, where it is known"
)


def diagnosis_report(diagnosis: Diagnosis) -> Report:
    """Return what `music diagnose` found as a report."""
    palette = Palette([model.model for model in diagnosis.models])
    return Report(
        title=f"Diagnosis on {', '.join(diagnosis.files)}",
        intro=INTRO,
        parts=[*_plots(diagnosis, palette), *_tables(diagnosis)],
        notes={
            "Pairs": "\n".join(pair_account(diagnosis)),
            **({"Leakage": "\n".join(leakage_account(diagnosis.leakage))} if diagnosis.leakage else {}),
            **{model.model: "\n".join(model_account(model)) for model in diagnosis.models},
            "Versions": ", ".join(f"{name} {version}" for name, version in diagnosis.versions.items()),
        },
    )


def _plots(diagnosis: Diagnosis, palette: Palette) -> Iterator[Plot]:
    if diagnosis.models:
        yield _shares(diagnosis, palette)
        drawn = [(model.model, curve) for model in diagnosis.models for curve in model.curves]
        yield from _curve_plots(drawn, palette)
        yield histograms(
            {model.model: histogram for model in diagnosis.models for histogram in model.histograms},
            title="Plot: rewards",
            caption="Filled: the chosen side; outline: the rejected one. Each model has a scale of its own.",
            palette=palette,
        )
    if diagnosis.disagreement is not None:
        together = [("all models together", curve) for curve in diagnosis.disagreement.curves]
        yield from _curve_plots(together, Palette(["all models together"]))
    for histogram in diagnosis.pair_set.histograms:
        caption = "Of the pairs, whatever the model. Filled: the chosen side; outline: the rejected one."
        yield histograms({"": histogram}, title=f"Plot: pairs by {histogram.name}", caption=caption, palette=palette)


def _shares(diagnosis: Diagnosis, palette: Palette) -> Plot:
    """Draw the shares that would be one half by chance: accuracies, and how often a shortcut is right."""
    points = [
        Point(place=figure.name, panel=figure.table, series=model.model, estimate=figure.estimate, reference=EVEN)
        for model in diagnosis.models
        for figure in model.figures
        if figure.estimate and figure.chance == EVEN
    ]
    caption = "What would be one half by chance, at the grey ticks. All other figures stand in the tables."
    return intervals(points, title="Plot: shares", caption=caption, x="share", palette=palette)


def _curve_plots(named: Sequence[tuple[str, Curve]], palette: Palette) -> Iterator[Plot]:
    """Draw the curves, those of one quantity in panels side by side."""
    for y, is_diagonal in dict.fromkeys((curve.y, curve.ideal_is_x) for _, curve in named):
        of_one = [(name, curve) for name, curve in named if (curve.y, curve.ideal_is_x) == (y, is_diagonal)]
        points = [point for name, curve in of_one for point in _points(name, curve)]
        if points:
            title = ", ".join(dict.fromkeys(curve.name for _, curve in of_one))
            yield curves(
                points,
                title=f"Plot: {title}",
                caption=f"{CAPTION}{'; diagonal: as sure as it is right' if is_diagonal else ''}.",
                x="",
                y=y,
                palette=palette,
                is_diagonal=is_diagonal,
                shares_x=False,
            )


def _points(name: str, curve: Curve) -> Iterator[Point]:
    panel = fill(curve.x, PANEL_CHARACTERS)
    for point in curve.points:
        yield Point(place=point.x, estimate=point.estimate, series=name, panel=panel, reference=curve.chance)


def _tables(diagnosis: Diagnosis) -> Iterator[Table]:
    for model in diagnosis.models:
        yield figure_table(model.model, model.figures)
    if diagnosis.disagreement is not None:
        yield figure_table("Models together", diagnosis.disagreement.figures)
        yield _comparisons(diagnosis.disagreement)
    yield figure_table("Pairs", diagnosis.pair_set.figures)


def _comparisons(found: Disagreement) -> Table:
    rows: list[list[Cell]] = [
        [
            f"{each.first} less {each.second}",
            Interval(estimate=each.estimate, sign="+"),
            each.p_value,
            each.adjusted_p_value,
            each.minimum_detectable,
            each.verdict,
        ]
        for each in found.comparisons
    ]
    columns = ["accuracy", "difference", "p", "adjusted p", "smallest found", "verdict"]
    return Table("Every two models", family_note(found), columns, {"": rows})
