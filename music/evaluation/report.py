"""Shows an evaluation: tables in the terminal (`show_result`), and a page with plots (`evaluation_report`)."""

import math
from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from music.evaluation.comparison import FigureDifference, ModelComparison
from music.evaluation.result import EvaluationResult
from music.report import Cell, Interval, Palette, Plot, Point, Report, Table, intervals
from music.report.table import p_text
from music.statistics import Estimate, Figure

__all__ = ["account", "evaluation_report", "figure_table", "show_result", "terminal_table"]

INTRO = (
    "95% intervals, from resampling whole prompts. Compare a figure with its chance value, and with a reward that only "
    "measures length."
)
WITHIN = "within noise"


def show_result(result: EvaluationResult) -> RenderableType:
    """Return the figures, the comparison if there is one, and what they were computed from, for the terminal."""
    shown: list[RenderableType] = [terminal_table(f"{result.benchmark}: {result.model}", result.figures)]
    if comparison := result.comparison:
        table = _begin(f"{result.model} less {comparison.baseline}", "model", "baseline", "difference")
        _fill(table, [(difference.table, _difference_cells(difference)) for difference in comparison.differences])
        shown.append(table)
    return Group(*shown, *map(Text, account(result)))


def terminal_table(title: str, figures: Sequence[Figure]) -> RichTable:
    """Return figures as a table, with their intervals, numbers of items, chance values and notes."""
    table = _begin(title, "95% interval", "items", "chance")
    _fill(table, [(figure.table, _row(figure)) for figure in figures])
    return table


def _begin(title: str, *columns: str) -> RichTable:
    """Return an empty table: a column of names and words, and columns of numbers."""
    table = RichTable(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _fill(table: RichTable, rows: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Add the rows, grouped by section; each section after the first begins with its name. Words go below names."""
    for section in dict.fromkeys(name for name, _ in rows):
        if table.row_count:
            table.add_row(Text(section, style="italic"))
        for name, *cells, words in (row for of, row in rows if of == section):
            table.add_row(Text.assemble(name, *([(f"\n  {words}", "dim")] if words else [])), *map(Text, cells))


def _row(figure: Figure) -> tuple[str, ...]:
    value = str(figure.estimate) if figure.estimate else "-"
    chance = "" if figure.chance is None else f"{figure.chance:.3g}"
    return figure.name, value, str(figure.num_items), chance, figure.note


def _difference_cells(difference: FigureDifference) -> tuple[str, ...]:
    sides = ("-" if side is None else f"{side:.3f}" for side in (difference.value, difference.baseline))
    sign = "+" if difference.estimate and difference.estimate.value >= 0 else ""
    return difference.name, *sides, f"{sign}{difference.estimate or '-'}", difference.verdict


def account(result: EvaluationResult) -> Iterator[str]:
    """Yield sentences about what the figures are computed from, and what was left out."""
    yield f"{result.num_items} items, {result.num_completions} completions"
    if result.num_items_of_all is not None:
        yield f"a draw of prompts from {result.num_items_of_all} items, so not the figures of the benchmark itself"
    for exclusion in result.exclusions:
        what = "counted as ties" if exclusion.stage == "judging" else f"left out in {exclusion.stage}"
        yield f"{what}: {exclusion.num} for {exclusion.reason} (first: {exclusion.example})"
    if result.num_truncated:
        yield f"{result.num_truncated} completions were scored without their oldest exchanges"
    if comparison := result.comparison:
        yield f"compared over the {comparison.num_items} items that both have scored"
        yield from filter(None, [comparison.note])
    if result.judge is not None:
        yield from result.judge.lines()
    if result.seconds:
        yield f"scored in {result.seconds:.1f} s"


def evaluation_report(result: EvaluationResult) -> Report:
    """Return a result as a page."""
    comparison = result.comparison
    identity = comparison and (comparison.baseline, comparison.description, comparison.fingerprint)
    palette = Palette([result.model, *([_named(comparison)] if comparison else [])])
    parts: list[Plot | Table] = [_figures_plot(result, palette)] if any(f.estimate for f in result.figures) else []
    if comparison is not None:
        parts += _compared(result.model, comparison, palette)
    return Report(
        title=f"{result.benchmark}: {result.model}",
        intro=INTRO,
        findings=[*_findings(result)],
        parts=[*parts, figure_table("Figures", result.figures)],
        notes={
            "Account": "\n".join(account(result)),
            "Model": _described(result.model, result.description, result.fingerprint),
            **({"Baseline": _described(*identity)} if identity else {}),
            "Benchmark": f"{result.benchmark}, {result.source}: {', '.join(result.files)}",
            "Versions": ", ".join(f"{name} {version}" for name, version in result.versions.items()),
        },
    )


def figure_table(title: str, figures: Sequence[Figure]) -> Table:
    """Return figures as a table of the page, grouped by `Figure.table`."""
    groups: dict[str, list[list[Cell]]] = {}
    for figure in figures:
        shown = Interval(estimate=figure.estimate) if figure.estimate else None
        chance = "" if figure.chance is None else figure.chance
        groups.setdefault(figure.table, []).append([figure.name, shown, figure.num_items, chance, figure.note])
    return Table(title, "With 95% intervals.", ["figure", "value", "items", "chance", "note"], groups)


def _figures_plot(result: EvaluationResult, palette: Palette) -> Plot:
    points = [
        Point(
            place=figure.name,
            panel=figure.table,
            series=result.model,
            estimate=figure.estimate,
            reference=figure.chance,
        )
        for figure in result.figures
        if figure.estimate
    ]
    caption = "Grey ticks: chance."
    if comparison := result.comparison:
        points += [
            Point(
                place=each.name,
                panel=each.table,
                series=_named(comparison),
                estimate=Estimate(each.baseline, -math.inf, math.inf, comparison.num_items),  # it has no interval
            )
            for each in comparison.differences
            if each.baseline is not None
        ]
        caption += (
            " The baseline's values are over the items that both have scored. The intervals of the differences are "
            "below."
        )
    return intervals(points, title="Plot: figures", caption=caption, x="value", palette=palette)


def _compared(model: str, comparison: ModelComparison, palette: Palette) -> Iterator[Plot | Table]:
    """Yield the differences as a plot and as a table."""
    points = [
        Point(
            place=each.name,
            panel=each.table,
            series=model,
            estimate=each.estimate,
            is_clear=each.verdict != WITHIN,
            reference=0,
        )
        for each in comparison.differences
        if each.estimate
    ]
    title = f"{model} less {comparison.baseline}"
    if points:
        caption = f"Filled: beyond noise; hollow: within noise. {comparison.note[:1].upper()}{comparison.note[1:]}."
        yield intervals(points, title=f"Plot: {title}", caption=caption, x="difference", palette=palette)
    groups: dict[str, list[list[Cell]]] = {}
    for each in comparison.differences:
        shown = Interval(estimate=each.estimate, sign="+") if each.estimate else None
        row = [
            each.name,
            each.value,
            each.baseline,
            shown,
            *map(p_text, (each.p_value, each.adjusted_p_value)),
            each.verdict,
        ]
        groups.setdefault(each.table, []).append(row)
    columns = ["figure", "model", "baseline", "difference", "p", "adjusted p", "verdict"]
    yield Table(title, comparison.note, columns, groups)


def _findings(result: EvaluationResult) -> Iterator[str]:
    """Yield the first figure, and the differences between the two models."""
    if result.figures:
        first = result.figures[0]
        chance = "" if first.chance is None else f"; chance: {first.chance:.3g}"
        yield f"{first.name}: {first.estimate or first.note}{chance}."
    if result.comparison is None or not result.comparison.differences:
        return
    first_difference = result.comparison.differences[0]
    compared = [each for each in result.comparison.differences if each.estimate]
    clear = [each for each in compared if each.verdict != WITHIN]
    shown = Interval(estimate=first_difference.estimate, sign="+") if first_difference.estimate else "-"
    yield f"Against {result.comparison.baseline}, {first_difference.name}: {shown}: {first_difference.verdict}."
    yield f"{len(clear)} of {len(compared)} differences are beyond noise."


def _named(comparison: ModelComparison) -> str:
    return f"{comparison.baseline} (baseline)"


def _described(name: str, description: str, fingerprint: str | None) -> str:
    return "; ".join(filter(None, [name, description, fingerprint and f"fingerprint {fingerprint}"]))
