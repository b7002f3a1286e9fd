"""`music evaluate`: a reward model's figures on a benchmark."""

from functools import partial
from typing import Annotated

import typer

from music.cli import AsJson, MaxTries, Patience, console, counted, emit, with_flags
from music.evaluation.config import EvaluationConfig
from music.judges import cli as flags

__all__ = ["evaluate"]


@with_flags
def evaluate(
    config: EvaluationConfig,
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
    as_json: AsJson = False,
) -> None:
    """Evaluate a reward model on a benchmark, with intervals, and within noise said in words.

    Example: music evaluate rm_bench chat_filtered.json code_filtered.json --model runs/rm --out runs/rm-bench
    """
    values = locals()
    import orjson

    from music.evaluation.report import show_result
    from music.evaluation.run import run_evaluation

    judge_settings = flags.read_settings(
        [config.model, config.baseline], max_in_flight, values, max_tries=max_tries, patience=patience
    )
    note = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    result = run_evaluation(config, judge_settings=judge_settings, progress=counted, note=note)
    emit(orjson.loads(result.model_dump_json()), as_json, show_result(result))
