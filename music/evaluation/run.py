"""`run_evaluation` runs an evaluation from its config and writes its files; `music evaluate` calls it."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from music.errors import InvalidInputError
from music.evaluation.benchmarks.pairs import PairBenchmark
from music.evaluation.benchmarks.registry import load_benchmark, read_benchmark
from music.evaluation.benchmarks.types import Benchmark, ItemSet
from music.evaluation.config import BenchmarkReading, EvaluationConfig
from music.evaluation.report import evaluation_report
from music.evaluation.result import EvaluationResult, evaluate
from music.evaluation.scoring.by_name import require_scorers, scores_by_name
from music.evaluation.scoring.records import ScoreSet
from music.files import require_output_folder
from music.judges.settings import JudgeSettings
from music.preferences import Consecutive, parse_format
from music.progress import ProgressBar, no_progress
from music.report import Report, write_report
from music.viewer.worst import RankedPair, write_worst

__all__ = ["evaluate_by", "ranked_pairs", "read_items", "run_evaluation", "write_outputs"]

logger = logging.getLogger(__name__)


def run_evaluation(
    config: EvaluationConfig,
    *,
    judge_settings: JudgeSettings | None = None,
    progress: ProgressBar = no_progress,
    note: Callable[[str], None] = logger.info,
) -> EvaluationResult:
    """Evaluate a reward model, or a judge, on a benchmark.

    With `config.out`, the scores, `result.json` and `report.html` are written there, and a killed run resumes.

    Args:
        config: What to evaluate, and on which benchmark.
        judge_settings: How to ask a judge, if `model` or `baseline` is one.
        progress: Shows how many items are scored.
        note: Called with messages for the user: what was read, which model is in use, where the files are.

    Raises:
        InvalidInputError: There is no such benchmark or model, a file cannot be read, or the figures cannot be
            computed; see `read_benchmark` and `evaluate`.
        UnscoredError: A completion has no score, and `config.reading.strict`.

    Example:
        >>> from music.evaluation import EvaluationConfig, run_evaluation
        >>> from music.preferences import write_preferences
        >>> from music.sandbox.world.seeds import seed_pairs
        >>> write_preferences(seed_pairs(20, 0), "pairs.jsonl")
        20
        >>> files = ("pairs.jsonl",)
        >>> result = run_evaluation(EvaluationConfig(benchmark="preferences", files=files, model="length"))
        >>> print(result.figures[0].estimate)
        0.500 [0.299, 0.701]
    """
    strict = config.reading.strict
    score = partial(scores_by_name, strict=strict, judge_settings=judge_settings, progress=progress, note=note)
    return evaluate_by(config, score, note)


def evaluate_by(
    config: EvaluationConfig, score: Callable[[str, ItemSet, Path | None], ScoreSet], note: Callable[[str], None]
) -> EvaluationResult:
    """Run an evaluation whose scores come from `score`; see `run_evaluation`.

    Args:
        config: What to evaluate, and on which benchmark.
        score: Returns the scores of all items from the scorer of a name, and keeps them in a file if there is one.
        note: Called with messages for the user.
    """
    benchmark = load_benchmark(config.benchmark)
    if config.out is not None:
        require_output_folder(config.out)
    require_scorers(*filter(None, [config.evaluated, config.baseline]))
    items, num_items_of_all = read_items(benchmark, config.files, config.reading, note)
    scores = score(config.evaluated, items, config.out and config.out / "scores.jsonl")
    baseline = score(config.baseline, items, config.out and config.out / "baseline.jsonl") if config.baseline else None
    result = evaluate(
        benchmark,
        items,
        scores,
        baseline=baseline,
        files=config.files,
        num_items_of_all=num_items_of_all,
        strict=config.reading.strict,
    )
    if config.out is not None:
        ranked = {result.model: ranked_pairs(items, scores)}
        write_outputs(config.out, "result.json", result, evaluation_report(result), ranked)
        note(f"scores, result and report: {config.out}")
    return result


def read_items(
    benchmark: Benchmark, files: Sequence[str], reading: BenchmarkReading, note: Callable[[str], None]
) -> tuple[ItemSet, int | None]:
    """Return a benchmark's items and, if only some prompts were drawn, the total number of items.

    Raises:
        InvalidInputError: A file cannot be read, or `format` or `consecutive` is set for a benchmark with a format of
            its own.
    """
    if isinstance(benchmark, PairBenchmark):
        benchmark = replace(
            benchmark,
            format=parse_format(reading.format),
            consecutive=Consecutive(reading.consecutive),
            on_read=lambda found: note(found.summary()),
        )
    elif reading.format is not None or reading.consecutive != "refuse":
        raise InvalidInputError(
            f"--format and --consecutive are for `preferences` and `defects`; {benchmark.name} has its own format"
        )
    items = read_benchmark(benchmark, files, split=reading.split, strict=reading.strict)
    return (items, None) if reading.limit is None else (items.draw_prompts(reading.limit), len(items.items))


def ranked_pairs(items: ItemSet, scores: ScoreSet) -> Iterator[RankedPair]:
    """Yield a pair for each item with labels and scores.

    Of several best completions it has the one with the lowest score, of the others the one with the highest.
    """
    usable = [item for item in items.items if scores.rows[item.id].problem is None]
    for item, rewards in zip(usable, scores.of(usable).values(), strict=True):
        best = max(item.labels)
        places = sorted(range(len(rewards)), key=rewards.__getitem__)
        chosen = next((place for place in places if item.labels[place] == best), None)
        rejected = next((place for place in reversed(places) if item.labels[place] < best), None)
        if chosen is not None and rejected is not None:
            yield RankedPair(
                id=item.id,
                chosen=item.completions[chosen],
                rejected=item.completions[rejected],
                margin=rewards[chosen] - rewards[rejected],
                source=item.subset,
            )


def write_outputs(
    out: Path, name: str, result: BaseModel, report: Report, ranked: Mapping[str, Iterable[RankedPair]]
) -> None:
    """Write a result as JSON under its name, and its report as `report.html`, which links to the worst-ranked pairs.

    Args:
        out: The folder.
        name: The name of the result.
        result: The result.
        report: Its report.
        ranked: Pairs by the name of the model that ranks them.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / name).write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    path = out / "report.html"
    write_report(replace(report, links=write_worst(path, ranked)), path)
