"""An evaluation for people: a table of figures, the comparison, and in words what they must be read with."""

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from music.evaluation.comparison import FigureDifference, ModelComparison
from music.evaluation.result import EvaluationResult
from music.statistics import Figure

__all__ = ["account", "figure_table", "show_result"]


def show_result(result: EvaluationResult) -> RenderableType:
    """Lay a result out: the figures, the comparison if there is one, then the account."""
    shown: list[RenderableType] = [figure_table(f"{result.benchmark}: {result.model}", result.figures)]
    if result.comparison is not None:
        shown.append(_differences(result.model, result.comparison))
    return Group(*shown, *map(Text, account(result)))


def figure_table(title: str, figures: Sequence[Figure]) -> Table:
    """Lay figures out, with their intervals, what they rest on and what they must be read with."""
    table = _table(title, "95% interval", "items", "chance")
    _fill(table, [(figure.table, _row(figure)) for figure in figures])
    return table


def _table(title: str, *columns: str) -> Table:
    """Begin a table: a column of names, columns of numbers, and one of words."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    return table


def _differences(model: str, comparison: ModelComparison) -> Table:
    table = _table(f"{model} less {comparison.baseline}", "model", "baseline", "difference")
    _fill(table, [(difference.table, _compared(difference)) for difference in comparison.differences])
    return table


def _fill(table: Table, rows: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Add the rows, those of one section below each other and, but for the first section, below its name."""
    for section in dict.fromkeys(name for name, _ in rows):
        if table.row_count:
            table.add_row(Text(section, style="italic"))
        for row in (row for name, row in rows if name == section):
            table.add_row(*map(Text, row))


def _row(figure: Figure) -> tuple[str, ...]:
    value = str(figure.estimate) if figure.estimate else "-"
    chance = "" if figure.chance is None else f"{figure.chance:.3g}"
    return figure.name, value, str(figure.num_items), chance, figure.note


def _compared(difference: FigureDifference) -> tuple[str, ...]:
    sides = (_number(side) for side in (difference.value, difference.baseline))
    sign = "+" if difference.estimate and difference.estimate.value >= 0 else ""
    return difference.name, *sides, f"{sign}{difference.estimate or '-'}", difference.verdict


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def account(result: EvaluationResult) -> Iterator[str]:
    """Yield what the figures rest on, and what they do not, in sentences."""
    yield f"{result.num_items} items, {result.num_completions} completions"
    if result.num_items_of_all is not None:
        yield f"a draw of prompts from {result.num_items_of_all} items, so not the figures of the benchmark itself"
    for exclusion in result.exclusions:
        yield f"left out in {exclusion.stage}: {exclusion.num} for {exclusion.reason} (first: {exclusion.example})"
    if result.num_truncated:
        yield f"{result.num_truncated} completions were scored without their oldest exchanges"
    if comparison := result.comparison:
        yield f"compared over the {comparison.num_items} items of which both have scores"
        yield from filter(None, [comparison.note])
    if result.judge is not None:
        yield from result.judge.lines()
    if result.seconds:
        yield f"scored in {result.seconds:.1f} s"
