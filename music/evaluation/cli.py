"""`music evaluate`: the figures of a reward model on a benchmark."""

from functools import partial
from typing import Annotated

import typer

from music.cli import AsJson, Retries, console, counted, emit, with_flags
from music.evaluation.config import EvaluationConfig
from music.judges import JudgeSettings
from music.judges.settings import require_judge

__all__ = ["evaluate"]


@with_flags
def evaluate(
    config: EvaluationConfig,
    judge_settings: Annotated[JudgeSettings, "judge"],
    retries: Retries,
    max_in_flight: Annotated[int, typer.Option(min=1, help="A judge's simultaneous requests.")] = 64,
    as_json: AsJson = False,
) -> None:
    """Evaluate a reward model on a benchmark, with intervals, and compare it with another model.

    Example: music evaluate rm_bench chat_filtered.json code_filtered.json --model runs/rm --out runs/rm-bench
    """
    import orjson

    from music.evaluation.report import show_result
    from music.evaluation.run import run_evaluation

    given = ["--max-tries, --patience"] if retries != Retries() else []
    require_judge(judge_settings, [config.model, config.baseline], given)
    client = retries.client_settings()
    judge_settings = judge_settings.model_copy(update={"max_in_flight": max_in_flight, "client": client})
    note = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    result = run_evaluation(config, judge_settings=judge_settings, progress=counted, note=note)
    emit(orjson.loads(result.model_dump_json()), as_json, show_result(result))
