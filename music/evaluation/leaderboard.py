"""`run_leaderboard` evaluates several models on several benchmarks, and shows their headlines in one table.

Each cell is an evaluation of its own: with `out`, its scores, result and report are in `OUT/BENCHMARK/MODEL`.
"""

import logging
import re
from collections.abc import Callable, Iterator
from functools import cache, partial

from pydantic import BaseModel, ConfigDict
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from music.errors import InvalidInputError
from music.evaluation.benchmarks.registry import load_benchmark
from music.evaluation.config import EvaluationConfig, LeaderboardConfig
from music.evaluation.report import account
from music.evaluation.result import EvaluationResult
from music.evaluation.run import evaluate_by, write_outputs
from music.evaluation.scoring.by_name import require_scorers, scores_by_name
from music.evaluation.scoring.records import ScoreSet
from music.evaluation.scoring.scorer import load_scored_model
from music.files import require_output_folder
from music.judges.settings import JudgeSettings
from music.progress import ProgressBar, no_progress
from music.report import Cell, Interval, Palette, Point, Report, Table, intervals

__all__ = ["Leaderboard", "leaderboard_report", "run_leaderboard", "show_leaderboard"]

logger = logging.getLogger(__name__)
INTRO = (
    "The headline of each benchmark with its 95% interval, from resampling whole prompts. Models whose intervals "
    "overlap may still differ beyond noise: compare two models with --baseline of `music evaluate`."
)


class Leaderboard(BaseModel):
    """The results of several models on several benchmarks."""

    model_config = ConfigDict(frozen=True)

    models: tuple[str, ...]
    benchmarks: tuple[str, ...]
    results: tuple[EvaluationResult, ...]
    """Benchmark by benchmark, and in each model by model."""

    def rows(self) -> Iterator[tuple[str, list[EvaluationResult]]]:
        """Yield each model with its results, one for each benchmark."""
        for place, model in enumerate(self.models):
            yield model, list(self.results[place :: len(self.models)])


def run_leaderboard(
    config: LeaderboardConfig,
    *,
    judge_settings: JudgeSettings | None = None,
    progress: ProgressBar = no_progress,
    note: Callable[[str], None] = logger.info,
) -> Leaderboard:
    """Evaluate all models on all benchmarks; a killed run resumes in `config.out`.

    Args:
        config: The models and the benchmarks.
        judge_settings: How to ask judges, if some models are judges.
        progress: Shows how many items are scored.
        note: Called with messages for the user.

    Raises:
        InvalidInputError: There is no such benchmark or model, or one of the evaluations fails.

    Example:
        >>> from music.evaluation import LeaderboardConfig, run_leaderboard
        >>> from music.preferences import write_preferences
        >>> from music.sandbox.world.seeds import seed_pairs
        >>> write_preferences(seed_pairs(20, 0), "pairs.jsonl")
        20
        >>> config = LeaderboardConfig(benchmarks=("preferences=pairs.jsonl",), models=("length", "oracle"))
        >>> [str(result.figures[0].estimate) for result in run_leaderboard(config).results]
        ['0.500 [0.299, 0.701]', '0.850 [0.640, 0.948]']
    """
    sources = _sources(config.benchmarks)
    for name in sources:
        load_benchmark(name)
    require_scorers(*config.models)
    if config.out is not None:
        require_output_folder(config.out)
    strict = config.reading.strict
    score = partial(scores_by_name, strict=strict, judge_settings=judge_settings, progress=progress, note=note)
    by_model = [_evaluate_model(model, config, sources, score, note) for model in config.models]
    results = tuple(result for of_benchmark in zip(*by_model, strict=True) for result in of_benchmark)
    found = Leaderboard(models=config.models, benchmarks=tuple(sources), results=results)
    if config.out is not None:
        write_outputs(config.out, "leaderboard.json", found, leaderboard_report(found), {})
        note(f"scores, results and report: {config.out}")
    return found


def _sources(benchmarks: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return the files of each benchmark; a benchmark may be named several times."""
    sources: dict[str, tuple[str, ...]] = {}
    for each in benchmarks:
        name, equals, file = each.partition("=")
        if not equals or not file:
            raise InvalidInputError(f"expected BENCHMARK=FILE, for example mt_bench=votes.jsonl, got {each!r}")
        sources[name] = (*sources.get(name, ()), file)
    return sources


def _evaluate_model(
    model: str,
    config: LeaderboardConfig,
    sources: dict[str, tuple[str, ...]],
    score: Callable[..., ScoreSet],
    note: Callable[[str], None],
) -> list[EvaluationResult]:
    """Evaluate a model on all benchmarks; it is loaded once, and freed before the next model is loaded."""
    score = partial(score, load=cache(load_scored_model))
    results = []
    for benchmark, files in sources.items():
        note(f"{benchmark}: {model}")
        out = config.out and config.out / benchmark / _folder_name(model)
        cell = EvaluationConfig(benchmark=benchmark, files=files, model=model, out=out, reading=config.reading)
        results.append(evaluate_by(cell, score, note))
    return results


def _folder_name(model: str) -> str:
    return re.sub(r"[^\w.@-]+", "-", model).strip("-.") or "model"


def show_leaderboard(found: Leaderboard) -> RenderableType:
    """Return the table for the terminal, and what was left out of each cell."""
    table = RichTable(title="95% intervals", title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for benchmark in found.benchmarks:
        table.add_column(benchmark, justify="right", overflow="fold")
    for model, results in found.rows():
        table.add_row(*map(Text, [model, *map(_headline, results)]))
    return Group(table, *map(Text, _notes(found)))


def _headline(result: EvaluationResult) -> str:
    """Return a value, and its interval in a second line, so that several benchmarks fit beside each other."""
    estimate = result.figures[0].estimate
    return str(estimate).replace(" ", "\n", 1) if estimate else "-"


def _notes(found: Leaderboard) -> Iterator[str]:
    """Yield the headline of each benchmark, and what was left out: of all models once, and of some models."""
    for place, benchmark in enumerate(found.benchmarks):
        own = found.results[place * len(found.models) : (place + 1) * len(found.models)]
        yield f"{benchmark}: {own[0].figures[0].name}; {', '.join(own[0].files)}"
        lines = [[line for line in account(each) if line.startswith(("left out", "counted", "a draw"))] for each in own]
        shared = [line for line in lines[0] if all(line in others for others in lines)]
        yield from (f"  {line}" for line in shared)
        for result, of_model in zip(own, lines, strict=True):
            yield from (f"  {result.model}: {line}" for line in of_model if line not in shared)


def leaderboard_report(found: Leaderboard) -> Report:
    """Return the table as a page, with a plot."""
    points = [
        Point(place=model, panel=result.benchmark, series=model, estimate=figure.estimate, reference=figure.chance)
        for model, results in found.rows()
        for result in results
        if (figure := result.figures[0]).estimate
    ]
    cells: list[list[Cell]] = [
        [model, *(Interval(estimate=e) if (e := result.figures[0].estimate) else None for result in results)]
        for model, results in found.rows()
    ]
    plot = intervals(
        points, title="Plot: headlines", caption="Grey ticks: chance.", x="value", palette=Palette(found.models)
    )
    table = Table("Headlines", "With 95% intervals.", ["model", *found.benchmarks], {"": cells})
    return Report(
        title="Leaderboard",
        intro=INTRO,
        parts=[*([plot] if points else []), table],
        notes={"Account": "\n".join(_notes(found))},
    )
