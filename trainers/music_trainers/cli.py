"""`music train`, `music rl` and `music demo`."""

import logging
import os
import warnings
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console

from music.cli import (
    AsJson,
    ConsecutiveFlag,
    FormatFlag,
    SplitFlag,
    StrictFlag,
    console,
    counted,
    emit,
    read_pairs,
)
from music.errors import InvalidInputError
from music.files import require_output_folder
from music.names import require_model
from music.reward.functions import require_reward
from music_trainers.policy.config import PolicyTrainingConfig
from music_trainers.reward.config import Objective, RewardTrainingConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from music.preferences import PreferenceSet
    from music_trainers.policy.records import PolicyEvaluation
    from music_trainers.reward.pairs.mixture import PairSource

__all__ = ["demo", "rl", "train"]


_PANELS = {
    "Pairs": ("max_length", "keep_seeds_together"),
    "Conversations": ("chat_template", "read_at"),
    "Loss": tuple(Objective.model_fields),
    "Steps": (
        *("learning_rate", "allow_large_rate", "batch_size", "num_epochs", "max_steps", "warmup_fraction"),
        *("weight_decay", "max_grad_norm", "seed", "scheduler", "adam_beta1", "adam_beta2", "aux_loss", "dropout"),
    ),
    "Evaluation": ("eval_fraction", "evaluate_every", "patience"),
    "Memory and speed": (
        *("lora_rank", "lora_alpha", "load_in_4bit", "states", "activation_checkpointing", "micro_batch_tokens"),
        *("device", "peak_tflops"),
    ),
    "Checkpoints and tracking": ("checkpoint_every", "keep_checkpoints", "resume", "overwrite", "tracker"),
}


_OWN = {"rewards", "grades"}
_EPISODES: Any = {"curve": {"__all__": _OWN}, "greedy_before": _OWN, "greedy_after": _OWN}
"""What a result holds of each single episode: too much for a terminal."""


def _flag(name: str, model: type[BaseModel] = RewardTrainingConfig, *flags: str) -> Any:
    """Return the option of a config field, with the field's docstring as its help, in its panel."""
    panel = next((panel for panel, fields in _PANELS.items() if name in fields), None)
    return typer.Option(*flags, help=model.model_fields[name].description, rich_help_panel=panel)


def _default(name: str, model: type[BaseModel] = RewardTrainingConfig) -> Any:
    return model.model_fields[name].default


def _policy_flag(name: str, *names: str, show_default: bool = True) -> Any:
    description = PolicyTrainingConfig.model_fields[name].description
    return typer.Option(*names, help=description, show_default=show_default)


def _policy_default(name: str) -> Any:
    return _default(name, PolicyTrainingConfig)


def train(
    pairs: Annotated[
        list[str],
        typer.Argument(
            help="Preference files, folders or hub ids, each with :SPLIT and =WEIGHT behind it if wanted: "
            "2 gives every pair twice an epoch, 0.5 a new half of them in each."
        ),
    ],
    base: Annotated[str, _flag("base")],
    out: Annotated[Path, _flag("out")],
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            "--eval", help="Held-out preference files, in place of --eval-fraction.", rich_help_panel="Evaluation"
        ),
    ] = None,
    learning_rate: Annotated[float | None, _flag("learning_rate")] = None,
    allow_large_rate: Annotated[bool, _flag("allow_large_rate")] = _default("allow_large_rate"),
    batch_size: Annotated[int, _flag("batch_size")] = _default("batch_size"),
    num_epochs: Annotated[int, _flag("num_epochs")] = _default("num_epochs"),
    max_steps: Annotated[int | None, _flag("max_steps")] = _default("max_steps"),
    max_length: Annotated[int, _flag("max_length")] = _default("max_length"),
    chat_template: Annotated[str | None, _flag("chat_template")] = _default("chat_template"),
    read_at: Annotated[str | None, _flag("read_at")] = _default("read_at"),
    readout: Annotated[str | None, _flag("readout", Objective)] = _default("readout", Objective),
    margin: Annotated[float, _flag("margin", Objective)] = _default("margin", Objective),
    margin_column: Annotated[
        str | None,
        typer.Option(
            help="Column of the preference files that holds a pair's own margin, a number >= 0.", rich_help_panel="Loss"
        ),
    ] = None,
    label_smoothing: Annotated[float, _flag("label_smoothing", Objective)] = _default("label_smoothing", Objective),
    center_rewards_coefficient: Annotated[float, _flag("center_rewards_coefficient", Objective)] = _default(
        "center_rewards_coefficient", Objective
    ),
    per_turn: Annotated[float, _flag("per_turn", Objective)] = _default("per_turn", Objective),
    ranking: Annotated[str, _flag("ranking", Objective)] = _default("ranking", Objective),
    keep_seeds_together: Annotated[bool, _flag("keep_seeds_together")] = _default("keep_seeds_together"),
    eval_fraction: Annotated[float, _flag("eval_fraction")] = _default("eval_fraction"),
    evaluate_every: Annotated[int, _flag("evaluate_every")] = _default("evaluate_every"),
    patience: Annotated[int, _flag("patience")] = _default("patience"),
    lora_rank: Annotated[int, _flag("lora_rank")] = _default("lora_rank"),
    lora_alpha: Annotated[int | None, _flag("lora_alpha")] = _default("lora_alpha"),
    load_in_4bit: Annotated[bool, _flag("load_in_4bit", RewardTrainingConfig, "--load-in-4bit")] = _default(
        "load_in_4bit"
    ),
    seed: Annotated[int, _flag("seed")] = _default("seed"),
    warmup_fraction: Annotated[float, _flag("warmup_fraction")] = _default("warmup_fraction"),
    weight_decay: Annotated[float, _flag("weight_decay")] = _default("weight_decay"),
    max_grad_norm: Annotated[float, _flag("max_grad_norm")] = _default("max_grad_norm"),
    states: Annotated[str, _flag("states")] = _default("states"),
    activation_checkpointing: Annotated[str, _flag("activation_checkpointing")] = _default("activation_checkpointing"),
    micro_batch_tokens: Annotated[int | None, _flag("micro_batch_tokens")] = _default("micro_batch_tokens"),
    checkpoint_every: Annotated[int, _flag("checkpoint_every")] = _default("checkpoint_every"),
    keep_checkpoints: Annotated[int, _flag("keep_checkpoints")] = _default("keep_checkpoints"),
    resume: Annotated[bool, _flag("resume")] = _default("resume"),
    overwrite: Annotated[bool, _flag("overwrite", RewardTrainingConfig, "--overwrite")] = _default("overwrite"),
    tracker: Annotated[str | None, _flag("tracker")] = _default("tracker"),
    peak_tflops: Annotated[float | None, _flag("peak_tflops")] = _default("peak_tflops"),
    device: Annotated[str, _flag("device")] = _default("device"),
    scheduler: Annotated[str, _flag("scheduler")] = _default("scheduler"),
    adam_beta1: Annotated[float, _flag("adam_beta1")] = _default("adam_beta1"),
    adam_beta2: Annotated[float, _flag("adam_beta2")] = _default("adam_beta2"),
    aux_loss: Annotated[float | None, _flag("aux_loss")] = _default("aux_loss"),
    dropout: Annotated[bool, _flag("dropout", RewardTrainingConfig, "--dropout")] = _default("dropout"),
    format: FormatFlag = None,
    split: SplitFlag = None,
    consecutive: ConsecutiveFlag = "refuse",
    strict: StrictFlag = False,
    as_json: AsJson = False,
) -> None:
    """Train a reward model on preference pairs; in several processes under `accelerate launch $(which music)`.

    With `--use_fsdp --fsdp_version 2` behind `launch`, the model is shared out among GPUs. On the CPU, accelerate
    starts a single process: use `torchrun --nproc-per-node N $(which music)` there.

    Example: music train runs/pairs=2 base.jsonl --base google/gemma-2-9b-it --out runs/rm
    """
    values = locals()
    objective = Objective(**{name: values[name] for name in Objective.model_fields})
    settings = {name: value for name, value in values.items() if name in RewardTrainingConfig.model_fields}
    config = RewardTrainingConfig(objective=objective, **settings)
    # What can be wrong is found before anything is read.
    config.require_unfinished()
    require_model(config.base)
    # As accelerate and torchrun number processes; the others work in silence.
    is_main = os.environ.get("RANK", "0") == "0"
    console.quiet = not is_main
    logging.disable(logging.NOTSET if is_main else logging.WARNING)
    from music_trainers.reward.pairs.mixture import Mixture
    from music_trainers.reward.progress import TrainingDisplay, format_result
    from music_trainers.reward.trainer import train_reward_model

    read = partial(read_pairs, format=format, strict=strict, consecutive=consecutive)
    sources = tuple(_source(spec, partial(read, split=split), split, margin_column) for spec in pairs)
    evaluation = [pair for spec in held_out for pair in read(spec).pairs] if held_out else None
    with TrainingDisplay(console) as display:
        result = train_reward_model(
            config, Mixture(sources), evaluation, on_start=display.on_start, on_step=display.on_step
        )
    if is_main:
        emit(result.model_dump(mode="json", exclude={"losses"}), as_json, format_result(result))


def rl(
    out: Annotated[Path, _policy_flag("out")] = Path("runs/rl"),
    policy: Annotated[str, _policy_flag("policy", show_default=False)] = _policy_default("policy"),
    reward: Annotated[str, _policy_flag("reward", show_default=False)] = _policy_default("reward"),
    judge: Annotated[str | None, _policy_flag("judge")] = _policy_default("judge"),
    user: Annotated[str, _policy_flag("user")] = _policy_default("user"),
    seeds: Annotated[str | None, _policy_flag("seeds")] = _policy_default("seeds"),
    personas: Annotated[Path | None, _policy_flag("personas")] = None,
    eval_personas: Annotated[Path | None, _policy_flag("eval_personas")] = None,
    num_turns: Annotated[int, _policy_flag("num_turns", "--turns")] = _policy_default("num_turns"),
    reward_mode: Annotated[str, _policy_flag("reward_mode")] = _policy_default("reward_mode"),
    discount: Annotated[float, _policy_flag("discount")] = _policy_default("discount"),
    num_steps: Annotated[int, _policy_flag("num_steps")] = _policy_default("num_steps"),
    num_groups: Annotated[int, _policy_flag("num_groups")] = _policy_default("num_groups"),
    group_size: Annotated[int, _policy_flag("group_size")] = _policy_default("group_size"),
    updates_per_step: Annotated[int, _policy_flag("updates_per_step")] = _policy_default("updates_per_step"),
    micro_batch_size: Annotated[int, _policy_flag("micro_batch_size")] = _policy_default("micro_batch_size"),
    learning_rate: Annotated[float | None, _policy_flag("learning_rate")] = _policy_default("learning_rate"),
    kl_weight: Annotated[float, _policy_flag("kl_weight")] = _policy_default("kl_weight"),
    max_reply_tokens: Annotated[int, _policy_flag("max_reply_tokens")] = _policy_default("max_reply_tokens"),
    evaluate_every: Annotated[int, _policy_flag("evaluate_every")] = _policy_default("evaluate_every"),
    num_evaluations: Annotated[int, _policy_flag("num_evaluations")] = _policy_default("num_evaluations"),
    seed: Annotated[int, _policy_flag("seed")] = _policy_default("seed"),
    overwrite: Annotated[bool, _policy_flag("overwrite", "--overwrite")] = _policy_default("overwrite"),
    as_json: AsJson = False,
) -> None:
    """Train a language model on the rewards of simulated conversations, by TRL's GRPO (the extra `trl`).

    Example: music rl --reward runs/rm --policy Qwen/Qwen2.5-0.5B-Instruct --user m@http://127.0.0.1:8000/v1 --out DIR
    """
    values = locals()
    config = PolicyTrainingConfig(**{name: values[name] for name in PolicyTrainingConfig.model_fields})
    # What can be wrong is found before anything is loaded.
    config.require_unfinished()
    require_model(config.policy)
    for name in filter(None, (config.reward, config.judge)):
        require_reward(name)
    if find_spec("trl") is None:
        raise InvalidInputError("music rl needs TRL, which is not installed: pip install 'music-rm[trl]'")
    from music_trainers.policy.progress import format_evaluation, format_policy_result
    from music_trainers.policy.run import train_policy

    def show(point: "PolicyEvaluation") -> None:
        line = f"step {point.step}/{config.num_steps}: {format_evaluation(point)}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    # transformers' own settings, under names that it is about to change.
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing` is deprecated", category=FutureWarning)
    with counted("steps", config.num_steps) as advance:
        result = train_policy(config, show, lambda _: advance(1))
    emit(result.model_dump(mode="json", exclude=_EPISODES), as_json, format_policy_result(result))


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the report and of all that the demo makes.")] = Path("runs/demo"),
    quick: Annotated[bool, typer.Option("--quick", help="A smaller run, to see that everything works.")] = False,
    seed: Annotated[int, typer.Option(help="Of everything in the demo.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Run the paper in miniature on the sandbox, and report the results.

    Example: music demo --quick
    """
    from music_trainers.demo import FULL, QUICK, DemoConfig, run_demo
    from music_trainers.demo.report import render_terminal

    require_output_folder(out)
    result = run_demo(DemoConfig(out=out, seed=seed, sizes=QUICK if quick else FULL), console)
    if as_json:
        emit(result.model_dump(mode="json"), as_json)
    else:
        render_terminal(result, Console(highlight=False, emoji=False))


def _source(
    spec: str, read: "Callable[[str], PreferenceSet]", split: str | None, margin_column: str | None
) -> "PairSource":
    """Read the pairs of `PATH` or `PATH=WEIGHT`; a path that is there wins."""
    path, equals, weight = spec.rpartition("=")
    if not equals or Path(spec).exists():
        path, weight = spec, "1"
    from music.preferences.rows import read_column
    from music_trainers.reward.pairs.mixture import PairSource

    try:
        factor = float(weight)
    except ValueError as error:
        raise InvalidInputError(f"{spec}: expected a number behind the =, as in pairs.jsonl=0.5") from error
    pairs = read(path).pairs
    margins = read_column(path, margin_column, split=split) if margin_column else {}
    return PairSource(Path(path).name, pairs, factor, margins)
