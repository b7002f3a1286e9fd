"""Shows a diagnosis: tables in the terminal (`show_diagnosis`), and a page with plots (`diagnosis_report`)."""

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from music.evaluation.diagnostics.diagnosis import Diagnosis, ModelDiagnosis
from music.evaluation.diagnostics.disagreement import Disagreement
from music.evaluation.diagnostics.leakage import Leakage
from music.evaluation.report import figure_table, terminal_table
from music.report import Cell, Curve, Interval, Palette, Plot, Point, Report, Table, curves, histograms, intervals
from music.report.table import p_text
from music.statistics import PairedComparison

__all__ = ["diagnosis_report", "show_diagnosis"]

INTRO = (
    "What reward models rank correctly, and what they rely on. 95% intervals, from resampling whole prompts. A reward "
    "may agree with a shortcut because better replies do; trust the rows where the shortcut is wrong."
)
EVEN = 0.5
CAPTION = (
    "Above each panel: the quantity on its x axis. A point is a tenth of the observations, or one value. Dashed lines: "
    "chance, where it is known"
)
SHOWN_MATCHES = 3


def show_diagnosis(diagnosis: Diagnosis) -> RenderableType:
    """Return the pairs, each model, and the models together, for the terminal."""
    warning = diagnosis.leakage and leak_warning(diagnosis.leakage)
    shown: list[RenderableType] = [Text(warning, style="bold red"), Text()] if warning else []
    shown.append(terminal_table("pairs", diagnosis.pair_set.figures))
    shown += map(Text, pair_account(diagnosis))
    shown += map(Text, leakage_account(diagnosis.leakage)) if diagnosis.leakage else ()
    for model in diagnosis.models:
        shown += [Text(), terminal_table(model.model, model.figures), *map(Text, model_account(model))]
    if diagnosis.disagreement is not None:
        shown += [Text(), *_together(diagnosis.disagreement)]
    return Group(*shown)


def pair_account(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield sentences about the pairs."""
    found = diagnosis.pair_set
    twice = found.duplicates
    yield f"{found.num_pairs} pairs of {found.num_prompts} seeds, {found.num_multi_turn} of several turns"
    yield (
        f"duplicates: {twice.num_repeated} pairs repeated, {twice.num_contradicted} also with the sides swapped, "
        f"{twice.num_same_seed} with the seed of an earlier one, {twice.num_near_seed} seeds nearly an earlier one"
    )
    if diagnosis.num_pairs_of_all is not None:
        yield f"a draw of prompts from {diagnosis.num_pairs_of_all} pairs"
    yield from (f"left out in reading: {each.num} for {each.reason}" for each in diagnosis.exclusions)


def leak_warning(found: Leakage) -> str:
    """Return a warning if the pairs share anything with the training set; else an empty text."""
    num = found.num_same_seed + found.num_near_seed
    if not (num or found.num_same_side):
        return ""
    return (
        f"LEAK: {num:,} test pairs begin as a training pair or nearly so, {found.num_same_side:,} share a whole side, "
        f"{found.num_same_pair + found.num_swapped_pair:,} are training pairs. Figures on them do not show how a model "
        "does on new conversations: draw test pairs from other seeds."
    )


def leakage_account(found: Leakage) -> Iterator[str]:
    """Yield sentences about what the pairs share with the training set."""
    yield (
        f"against {found.num_train_pairs} training pairs of {found.num_train_prompts} seeds: {found.num_same_seed} "
        f"pairs share a seed, {found.num_near_seed} more nearly do, {found.num_same_side} share a side, "
        f"{found.num_same_pair} are the same, {found.num_swapped_pair} have the sides swapped"
    )
    for match in found.examples[:SHOWN_MATCHES]:
        yield f"  {match.similarity:.2f} {match.id}: {match.text!r} ~ {match.other_id}: {match.other_text!r}"


def model_account(model: ModelDiagnosis) -> Iterator[str]:
    """Yield sentences about what a model's figures are computed from, and what was left out."""
    yield f"{model.num_pairs} pairs; {model.description}" if model.description else f"{model.num_pairs} pairs"
    yield model.note
    for each in model.exclusions:
        yield f"left out in {each.stage}: {each.num} for {each.reason} (first: {each.example})"
    if model.num_truncated:
        yield f"{model.num_truncated} conversations were scored without their oldest exchanges"
    if model.seconds:
        yield f"scored in {model.seconds:.1f} s"


def _together(found: Disagreement) -> list[RenderableType]:
    table = RichTable(title="accuracy, every two models", title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.add_column("")
    for column in ("difference", "p", "adjusted p", "smallest found"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    for comparison in found.comparisons:
        table.add_row(*map(Text, _compared(comparison)))
    figures = terminal_table(f"together, on the {found.num_pairs} pairs that all have scored", found.figures)
    return [table, Text(family_note(found)), Text(), figures]


def family_note(found: Disagreement) -> str:
    """Return the explanation of the comparisons of every two models."""
    return (
        f"comparisons: {len(found.comparisons)}, as one family; p by sign flips of whole prompts, adjusted by Holm's "
        "method. Smallest found: the true difference that one such comparison finds with a probability of 80%."
    )


def _compared(found: PairedComparison) -> tuple[str, ...]:
    return (
        f"{found.first} less {found.second}",
        f"{'+' if found.estimate.value >= 0 else ''}{found.estimate}",
        p_text(found.p_value),
        p_text(found.adjusted_p_value),
        f"{found.minimum_detectable:.3f}",
        found.verdict,
    )


def diagnosis_report(diagnosis: Diagnosis) -> Report:
    """Return a diagnosis as a page."""
    warning = diagnosis.leakage and leak_warning(diagnosis.leakage)
    palette = Palette([model.model for model in diagnosis.models])
    return Report(
        title=f"Diagnosis on {', '.join(diagnosis.files)}",
        intro=INTRO,
        warnings=[warning] if warning else [],
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
    """Plot the figures whose chance value is one half: accuracies, and how often a shortcut is right."""
    points = [
        Point(place=figure.name, panel=figure.table, series=model.model, estimate=figure.estimate, reference=EVEN)
        for model in diagnosis.models
        for figure in model.figures
        if figure.estimate and figure.chance == EVEN
    ]
    caption = "The figures that are one half by chance (grey ticks). The tables show all figures."
    return intervals(points, title="Plot: shares", caption=caption, x="share", palette=palette)


def _curve_plots(named: Sequence[tuple[str, Curve]], palette: Palette) -> Iterator[Plot]:
    """Plot the curves; those of the same quantity are panels of one plot."""
    for y, is_diagonal in dict.fromkeys((curve.y, curve.ideal_is_x) for _, curve in named):
        of_one = [(name, curve) for name, curve in named if (curve.y, curve.ideal_is_x) == (y, is_diagonal)]
        points = [
            Point(
                place=point.x,
                estimate=point.estimate,
                series=name,
                panel=curve.x,
                reference=curve.chance,
            )
            for name, curve in of_one
            for point in curve.points
        ]
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
            p_text(each.p_value),
            p_text(each.adjusted_p_value),
            each.minimum_detectable,
            each.verdict,
        ]
        for each in found.comparisons
    ]
    columns = ["accuracy", "difference", "p", "adjusted p", "smallest found", "verdict"]
    return Table("Every two models", family_note(found), columns, {"": rows})
