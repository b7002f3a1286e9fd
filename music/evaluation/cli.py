"""`music evaluate`: a reward model's figures on a benchmark."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from music.cli import (
    AsJson,
    ConsecutiveFlag,
    ConsecutiveWord,
    FormatFlag,
    MaxTries,
    Patience,
    console,
    counted,
    emit,
    report_reading,
    run_async,
)
from music.errors import InvalidInputError
from music.files import require_output_folder
from music.judges import cli as flags

if TYPE_CHECKING:
    from music.evaluation.benchmarks.types import Benchmark, ItemSet
    from music.evaluation.result import EvaluationResult
    from music.evaluation.scoring import ScoreSet
    from music.judges.settings import JudgeSettings

__all__ = ["MODEL_HELP", "evaluate", "require_subjects", "take_scores", "with_rules"]

MODEL_HELP = (
    "MODEL, prefix-mean:MODEL, MODEL@URL, oracle, length or random; judge:ENDPOINT (rates each completion) or "
    "judge-pairs:ENDPOINT (compares each two); or a file of scores (.jsonl) that --out has kept."
)
SCORES = ".jsonl"


def evaluate(
    benchmark: Annotated[str, typer.Argument(help="For example rewardbench2; another name lists all.")],
    files: Annotated[list[str], typer.Argument(help="Its files, folders or hub ids.")],
    model: Annotated[str, typer.Option(help=MODEL_HELP)],
    baseline: Annotated[str | None, typer.Option(help="Another to compare with, prompt by prompt.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for scores and result; a killed run resumes there.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Draw this many prompts, for a quick look.")] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Which split of a folder or hub data set; also SOURCE:SPLIT. By default the benchmark's own."
        ),
    ] = None,
    format: FormatFlag = None,
    consecutive: ConsecutiveFlag = "refuse",
    strict: Annotated[
        bool, typer.Option(help="Stop at bad rows and at completions without a score; else count and leave out.")
    ] = True,
    max_in_flight: Annotated[int, typer.Option(min=1, help="A judge's simultaneous requests.")] = 64,
    judge_prompt: flags.Prompt = None,
    judge_num_samples: flags.Samples = None,
    judge_temperature: flags.Temperature = None,
    judge_max_cost: flags.MaxCost = None,
    judge_max_total_tokens: flags.MaxTotalTokens = None,
    judge_prices: flags.Price = None,
    judge_cache: flags.Cache = None,
    judge_options: flags.Options = None,
    max_tries: MaxTries = None,
    patience: Patience = None,
    json: AsJson = False,
) -> None:
    """Evaluate a reward model on a benchmark, with intervals, and within noise said in words.

    Example: music evaluate rm_bench chat_filtered.json code_filtered.json --model runs/rm --out runs/rm-bench
    """
    values = locals()
    from music.evaluation.benchmarks.registry import load_benchmark, read_benchmark
    from music.evaluation.result import evaluate as figures_of

    judging = flags.read_settings([model, baseline], max_in_flight, values, max_tries=max_tries, patience=patience)
    chosen = with_rules(load_benchmark(benchmark), format, consecutive)
    if out is not None:
        require_output_folder(out)
    require_subjects(model, *([baseline] if baseline else []))
    items = whole = read_benchmark(chosen, files, split=split, strict=strict)
    if limit is not None:
        items = whole.draw_prompts(limit)
    scores = take_scores(model, items, out and out / "scores.jsonl", strict, judging)
    result = figures_of(
        chosen,
        items,
        scores,
        baseline=take_scores(baseline, items, out and out / "baseline.jsonl", strict, judging) if baseline else None,
        files=files,
        num_items_of_all=len(whole.items) if limit is not None else None,
        strict=strict,
    )
    _report(result, out, json)


def require_subjects(*names: str) -> None:
    """Refuse at once what is neither a file of scores nor a judge nor a reward, before anything is read.

    Raises:
        InvalidInputError: There is no such file, judge or reward.
    """
    from music.judges.settings import read_judge
    from music.reward.functions import require_reward

    for name in names:
        if name.endswith(SCORES):
            if not Path(name).is_file():
                raise InvalidInputError(f"{name}: expected a file of scores that --out has kept; there is none")
        elif not read_judge(name):
            require_reward(name)


def with_rules(benchmark: Benchmark, format: str | None, consecutive: ConsecutiveWord) -> Benchmark:
    """Return a benchmark that reads rows as the flags ask, and reports what it read.

    Raises:
        InvalidInputError: The flags are given with a benchmark that has a format of its own.
    """
    from music.evaluation.benchmarks.pairs import PairBenchmark
    from music.preferences import Consecutive, parse_format

    if isinstance(benchmark, PairBenchmark):
        rules = Consecutive(consecutive)
        return replace(benchmark, format=parse_format(format), consecutive=rules, on_read=report_reading)
    if format is not None or consecutive != "refuse":
        raise InvalidInputError(
            f"--format and --consecutive are for `preferences` and `defects`; {benchmark.name} has its own format"
        )
    return benchmark


def take_scores(
    name: str, items: ItemSet, path: Path | None, strict: bool, judging: JudgeSettings | None = None
) -> ScoreSet:
    """Read the scores that a file holds, or take them from a reward or a judge."""
    from music.evaluation.scoring import load_scored_model, read_scores, score_items
    from music.judges.settings import JudgeSettings, read_judge

    if name.endswith(SCORES):
        return read_scores(Path(name), items)
    if read_judge(name):
        return run_async(_judged(items, name, judging or JudgeSettings(), path))
    scored_model = load_scored_model(name)
    described = f": {scored_model.description}" if scored_model.description else ""
    console.print(f"{name}{described}", markup=False, highlight=False, soft_wrap=True)
    with counted("items", len(items.items)) as advance:
        return score_items(items, scored_model, path, strict=strict, on_scored=advance)


async def _judged(items: ItemSet, name: str, settings: JudgeSettings, path: Path | None) -> ScoreSet:
    """Score items by a judge, with a progress display; its replies are kept beside the file of scores."""
    from music.evaluation.scoring.judged import describe_judge, judge_items, open_item_judge

    async with open_item_judge(name, settings, path.with_suffix(".sqlite") if path else None) as judge:
        num_calls = sum(map(judge.num_calls, items.items))
        console.print(f"{name}: {num_calls:,} judgements at the most", markup=False, highlight=False, soft_wrap=True)
        with counted("items", len(items.items)) as advance:
            described = describe_judge(name, settings)
            return await judge_items(items, described, judge, path, on_judged=partial(advance, 1))


def _report(result: EvaluationResult, out: Path | None, json: bool) -> None:
    """Save the result and print it."""
    import orjson

    from music.evaluation.report import evaluation_report
    from music.evaluation.tables import show_result
    from music.report import write_report

    text = result.model_dump_json(indent=2)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "result.json").write_text(text + "\n", encoding="utf-8")
        write_report(evaluation_report(result), out / "report.html")
        console.print(f"scores, result and report: {out}", markup=False, highlight=False, soft_wrap=True)
    emit(orjson.loads(text), json, show_result(result))
