"""`music train`, `music rl` and `music demo`."""

import logging
import os
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from music.cli import AsJson, Reading, console, counted, emit, with_flags
from music.errors import InvalidInputError
from music.files import require_output_folder
from music.names import find_model
from music.reward.functions import require_reward
from music_trainers.demo.config import DemoConfig
from music_trainers.policy.config import PolicyTrainingConfig
from music_trainers.reward.config import RewardTrainingConfig

if TYPE_CHECKING:
    from music.pairs import PreferencePair
    from music_trainers.policy.records import PolicyEvaluation
    from music_trainers.reward.mixture import Mixture, PairSource

__all__ = ["demo", "rl", "train"]


_OWN = {"rewards", "grades"}
_EPISODES: Any = {"curve": {"__all__": _OWN}, "greedy_before": _OWN, "greedy_after": _OWN}
"""Fields of a result with a value for each episode, which are too long for a terminal."""


@with_flags
def train(
    pairs: Annotated[
        list[str],
        typer.Argument(
            help="Preference files, folders or hub ids, each with an optional :SPLIT and =WEIGHT: "
            "2 draws every pair twice per epoch, 0.5 draws a new half of the pairs in each epoch."
        ),
    ],
    config: RewardTrainingConfig,
    reading: Reading,
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            "--eval", help="Held-out preference files, in place of --eval-fraction.", rich_help_panel="Evaluation"
        ),
    ] = None,
    margin_column: Annotated[
        str | None,
        typer.Option(
            help="Column of the preference files that holds a pair's own margin, a number >= 0.", rich_help_panel="Loss"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a reward model on preference pairs; in several processes under `accelerate launch $(which music)`.

    With `--use_fsdp --fsdp_version 2` after `launch`, the model is sharded across GPUs. On the CPU, accelerate starts a
    single process: use `torchrun --nproc-per-node N $(which music)` instead.

    With `--freeze backbone`, only a linear head is fitted, to hidden states that are computed once.

    Example: music train runs/pairs=2 base.jsonl --base google/gemma-2-9b-it --out runs/rm
    """
    # Settings are checked before any file is read.
    config.require_unfinished()
    find_model(config.base, "language_model")
    # accelerate and torchrun number the processes; only the first one prints.
    is_main = os.environ.get("RANK", "0") == "0"
    console.quiet = not is_main
    logging.disable(logging.NOTSET if is_main else logging.WARNING)
    from music_trainers.reward.mixture import Mixture
    from music_trainers.reward.progress import TrainingDisplay, format_result
    from music_trainers.reward.trainer import train_reward_model

    sources = tuple(_source(spec, reading, margin_column) for spec in pairs)
    unsplit = reading.model_copy(update={"split": None})
    evaluation = [pair for spec in held_out for pair in unsplit.read(spec).pairs] if held_out else None
    if config.freeze == "backbone":
        _train_head(config, Mixture(sources), evaluation, as_json=as_json)
        return
    with TrainingDisplay(console) as display:
        result = train_reward_model(
            config, Mixture(sources), evaluation, on_start=display.on_start, on_step=display.on_step
        )
    if is_main:
        emit(result.model_dump(mode="json", exclude={"losses"}), as_json, format_result(result))


@with_flags
def rl(config: PolicyTrainingConfig, as_json: AsJson = False) -> None:
    """Train a language model on the rewards of simulated conversations, by TRL's GRPO (the extra `trl`).

    Example: music rl --reward runs/rm --policy Qwen/Qwen2.5-0.5B-Instruct --user m@http://127.0.0.1:8000/v1 --out DIR
    """
    # Settings are checked before any model is loaded.
    config.require_unfinished()
    find_model(config.policy, "language_model")
    for name in filter(None, (config.reward, config.judge)):
        require_reward(name)
    if find_spec("trl") is None:
        raise InvalidInputError("music rl needs TRL, which is not installed: pip install 'music-rm[trl]'")
    from music_trainers.policy.report import format_evaluation, format_policy_result
    from music_trainers.policy.run import train_policy

    def show(point: "PolicyEvaluation") -> None:
        line = f"step {point.step}/{config.num_steps}: {format_evaluation(point)}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    def notice(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    with counted("steps", config.num_steps) as advance:
        done = [0]

        def step(number: int) -> None:
            advance(number - done[0])
            done[0] = number

        result = train_policy(config, show, step, notice)
    emit(result.model_dump(mode="json", exclude=_EPISODES), as_json, format_policy_result(result))


@with_flags
def demo(
    config: DemoConfig,
    quick: Annotated[bool, typer.Option("--quick", help="A smaller run that checks that everything works.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run the paper in miniature on the sandbox, and report the results.

    Example: music demo --quick
    """
    from music_trainers.demo import QUICK, run_demo
    from music_trainers.demo.report import print_demo

    require_output_folder(config.out)
    result = run_demo(config.model_copy(update={"sizes": QUICK}) if quick else config, console)
    if as_json:
        emit(result.model_dump(mode="json"), as_json)
    else:
        print_demo(result, Console(highlight=False, emoji=False))


def _train_head(
    config: RewardTrainingConfig, mixture: "Mixture", held_out: "list[PreferencePair] | None", *, as_json: bool
) -> None:
    """Fit a head to a frozen backbone, and print the result."""
    from music_trainers.frozen.records import format_head_result
    from music_trainers.frozen.run import train_reward_head

    def notice(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    counting = partial(counted, "conversations")
    result = train_reward_head(config, mixture, held_out, on_notice=notice, counting=counting)
    emit(result.model_dump(mode="json"), as_json, format_head_result(result))


def _source(spec: str, reading: Reading, margin_column: str | None) -> "PairSource":
    """Read the pairs of `PATH` or `PATH=WEIGHT`; an existing path takes precedence."""
    path, equals, weight = spec.rpartition("=")
    if not equals or Path(spec).exists():
        path, weight = spec, "1"
    from music.preferences.rows import read_column
    from music_trainers.reward.mixture import PairSource

    try:
        factor = float(weight)
    except ValueError as error:
        raise InvalidInputError(f"{spec}: expected a number after the =, as in pairs.jsonl=0.5") from error
    pairs = reading.read(path).pairs
    margins = read_column(path, margin_column, split=reading.split) if margin_column else {}
    return PairSource(Path(path).name, pairs, factor, margins)
