"""`music evaluate`, the figures of a model on a benchmark, and `music leaderboard`, of several models on several."""

from typing import Annotated

import typer

from music.cli import AsJson, Retries, counted, emit, note, with_flags
from music.evaluation.config import EvaluationConfig, LeaderboardConfig
from music.judges import JudgeSettings
from music.judges.settings import require_judge

__all__ = ["evaluate", "leaderboard"]

MaxInFlight = Annotated[int, typer.Option(min=1, help="A judge's simultaneous requests.")]


@with_flags
def evaluate(
    config: EvaluationConfig,
    judge_settings: Annotated[JudgeSettings, "judge"],
    retries: Retries,
    max_in_flight: MaxInFlight = 64,
    as_json: AsJson = False,
) -> None:
    """Evaluate a reward model on a benchmark, with intervals, and compare it with another model.

    Example: music evaluate rm_bench chat_filtered.json code_filtered.json --model runs/rm --out runs/rm-bench
    """
    import orjson

    from music.evaluation.report import show_result
    from music.evaluation.run import run_evaluation

    judge_settings = _filled(judge_settings, retries, max_in_flight, config.evaluated, config.baseline)
    result = run_evaluation(config, judge_settings=judge_settings, progress=counted, note=note)
    emit(orjson.loads(result.model_dump_json()), as_json, show_result(result))


@with_flags
def leaderboard(
    config: LeaderboardConfig,
    judge_settings: Annotated[JudgeSettings, "judge"],
    retries: Retries,
    max_in_flight: MaxInFlight = 64,
    as_json: AsJson = False,
) -> None:
    """Evaluate several models on several benchmarks, in one table.

    Example: music leaderboard mt_bench=votes.jsonl rewardbench2=allenai/reward-bench-2 --model runs/rm --model length
    """
    import orjson

    from music.evaluation.leaderboard import run_leaderboard, show_leaderboard

    judge_settings = _filled(judge_settings, retries, max_in_flight, *config.models)
    found = run_leaderboard(config, judge_settings=judge_settings, progress=counted, note=note)
    emit(orjson.loads(found.model_dump_json()), as_json, show_leaderboard(found))


def _filled(settings: JudgeSettings, retries: Retries, max_in_flight: int, *models: str | None) -> JudgeSettings:
    """Return a judge's settings with those of its client; the flags are refused if no model is a judge."""
    require_judge(settings, models, ["--max-tries, --patience"] if retries != Retries() else [])
    return settings.model_copy(update={"max_in_flight": max_in_flight, "client": retries.client_settings()})
