"""`music train` and `music demo`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from music.cli import AsJson, FormatFlag, StrictFlag, console, emit, read_pairs
from music.pairs import PreferencePair
from music_trainers.records import RewardTrainingConfig

__all__ = ["demo", "train"]


def _flag(name: str) -> Any:
    """Return the option of a config field, with the field's docstring as its help."""
    return typer.Option(help=RewardTrainingConfig.model_fields[name].description)


def _default(name: str) -> Any:
    return RewardTrainingConfig.model_fields[name].default


def train(
    pairs: Annotated[list[str], typer.Argument(help="Preference files, folders of parquet shards, or hub ids.")],
    base: Annotated[str, _flag("base")],
    out: Annotated[Path, _flag("out")],
    held_out: Annotated[
        list[str] | None, typer.Option("--eval", help="Held-out preference files, in place of --eval-fraction.")
    ] = None,
    learning_rate: Annotated[float, _flag("learning_rate")] = _default("learning_rate"),
    batch_size: Annotated[int, _flag("batch_size")] = _default("batch_size"),
    num_epochs: Annotated[int, _flag("num_epochs")] = _default("num_epochs"),
    max_steps: Annotated[int | None, _flag("max_steps")] = _default("max_steps"),
    max_length: Annotated[int, _flag("max_length")] = _default("max_length"),
    eval_fraction: Annotated[float, _flag("eval_fraction")] = _default("eval_fraction"),
    seed: Annotated[int, _flag("seed")] = _default("seed"),
    warmup_fraction: Annotated[float, _flag("warmup_fraction")] = _default("warmup_fraction"),
    weight_decay: Annotated[float, _flag("weight_decay")] = _default("weight_decay"),
    max_grad_norm: Annotated[float, _flag("max_grad_norm")] = _default("max_grad_norm"),
    micro_batch_tokens: Annotated[int, _flag("micro_batch_tokens")] = _default("micro_batch_tokens"),
    checkpoint_every: Annotated[int, _flag("checkpoint_every")] = _default("checkpoint_every"),
    keep_checkpoints: Annotated[int, _flag("keep_checkpoints")] = _default("keep_checkpoints"),
    resume: Annotated[bool, _flag("resume")] = _default("resume"),
    device: Annotated[str, _flag("device")] = _default("device"),
    format: FormatFlag = None,
    strict: StrictFlag = False,
    as_json: AsJson = False,
) -> None:
    """Train a reward model on preference pairs.

    Example: music train runs/pairs base.jsonl --base google/gemma-2-9b-it --out runs/rm
    """
    settings = {name: value for name, value in locals().items() if name in RewardTrainingConfig.model_fields}
    config = RewardTrainingConfig(**settings)
    from music_trainers.progress import TrainingDisplay, format_metrics
    from music_trainers.reward import train_reward_model

    training = _read(pairs, format, strict)
    evaluation = _read(held_out, format, strict) if held_out else None
    with TrainingDisplay(console) as display:
        result = train_reward_model(config, training, evaluation, on_start=display.on_start, on_step=display.on_step)
    rate = result.num_tokens / result.seconds if result.seconds else 0.0
    text = (
        f"{result.num_steps} steps, {result.num_tokens:,} tokens, {result.seconds:.1f} s ({rate:,.0f} tokens/s)\n"
        f"before: {format_metrics(result.before)}\nafter:  {format_metrics(result.after)}\nsaved to {out}"
    )
    emit(result.model_dump(mode="json", exclude={"losses"}), as_json, text)


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the report and of all that the demo makes.")] = Path("runs/demo"),
    quick: Annotated[bool, typer.Option("--quick", help="A smaller run, to see that everything works.")] = False,
    seed: Annotated[int, typer.Option(help="Of everything in the demo.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Run the paper in miniature on the sandbox, and report what came out.

    Example: music demo --quick
    """
    from music_trainers.demo import FULL, QUICK, DemoConfig, run_demo
    from music_trainers.demo.report import render_terminal

    result = run_demo(DemoConfig(out=out, seed=seed, sizes=QUICK if quick else FULL), console)
    if as_json:
        emit(result.model_dump(mode="json"), as_json)
    else:
        render_terminal(result, Console(highlight=False))


def _read(sources: list[str], format: str | None, strict: bool) -> list[PreferencePair]:
    """Read all pairs, saying what each source gave."""
    return [pair for source in sources for pair in read_pairs(source, format, strict).pairs]
