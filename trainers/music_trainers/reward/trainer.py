"""Train a reward model on preference pairs: Bradley-Terry, `-log sigmoid(r(chosen) - r(rejected))`, and its variants.

`train_reward_model` is the run. Its settings are in `config`, its results in `records`, its steps in `loop`. It saves a
vanilla checkpoint: an `AutoModelForSequenceClassification`, its tokenizer, the score contract and `training.json`, the
record. It runs in one process or, under `accelerate launch`, in several. The main process writes and reports; all
processes must see the output folder.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from safetensors import SafetensorError

from music.errors import InvalidInputError, MusicError
from music.files import sync_folder, whole_file
from music.pairs import PreferencePair
from music.reward.loading import LoadedCheckpoint, load_checkpoint, save_model
from music_trainers.reward.card import write_model_card
from music_trainers.reward.config import RECORD_FILE, RewardTrainingConfig
from music_trainers.reward.distributed import gather_weights
from music_trainers.reward.history import History, Throughput
from music_trainers.reward.launch import load_once, locked_output, start_accelerator
from music_trainers.reward.loop import take_steps
from music_trainers.reward.mixture import Mixture, TrainingData, check_exchanged, check_overlap
from music_trainers.reward.optimizer import TrainingDivergedError
from music_trainers.reward.progress import Tracking
from music_trainers.reward.records import (
    HeldOutEvaluation,
    RewardTrainingResult,
    TrainingStart,
    TrainingStep,
)
from music_trainers.reward.run import TrainingRun
from music_trainers.reward.trainable import merge_adapters

__all__ = ["hold_out", "load_base", "setting_notes", "train_reward_model"]


def train_reward_model(
    config: RewardTrainingConfig,
    pairs: Sequence[PreferencePair] | Mixture,
    eval_pairs: Sequence[PreferencePair] | None = None,
    *,
    on_start: Callable[[TrainingStart], None] = lambda start: None,
    on_step: Callable[[TrainingStep], None] = lambda step: None,
) -> RewardTrainingResult:
    """Train a reward model and save it to `config.out`.

    Args:
        config: The settings. On the CPU, the same config, pairs and library versions give the same weights.
        pairs: The training pairs; a `Mixture` for several sources with weights, or for pairs with margins.
        eval_pairs: Held-out pairs; if None, `config.eval_fraction` of the seed conversations are held out of `pairs`.
        on_start: Called once, before the first step, in the main process.
        on_step: Called after every optimizer step, in the main process.

    Raises:
        InvalidInputError: No pair is left to train on or to measure on, the base cannot be trained or is to be frozen,
            the run cannot resume, or `config.out` already holds a model or another run.
        TrainingDivergedError: The loss is no longer finite, or far above what it was.

    Example:
        >>> from pathlib import Path
        >>> from music.preferences import read_preferences
        >>> from music_trainers import RewardTrainingConfig, train_reward_model
        >>> config = RewardTrainingConfig(base="Qwen/Qwen2.5-0.5B-Instruct", out=Path("runs/rm"))
        >>> result = train_reward_model(config, read_preferences("pairs.parquet").pairs)
        >>> print(result.before, result.after)
    """
    if config.freeze == "backbone":
        raise InvalidInputError("freeze='backbone' fits a head in place of training: call train_reward_head")
    config.require_unfinished()
    set_seed(config.seed)
    accelerator = start_accelerator(config)
    with locked_output(accelerator, config):
        mixture, held_out, overlap = hold_out(config, pairs, eval_pairs)
        run = _prepare(config, accelerator, mixture, held_out)
        start, history = _start(run, notes=setting_notes(config, run.config, overlap))
        tracking = Tracking(accelerator, run.config, on_start, on_step)
        tracking.start(start)

        speed = Throughput.of(run.optimizer.classifier, accelerator, config.peak_tflops)
        take_steps(run, history, speed, tracking.step)

        result = _finish(run, start, history, speed)
        tracking.end()  # last, as accelerate takes the process group down with it
    return result


def hold_out(
    config: RewardTrainingConfig,
    pairs: Sequence[PreferencePair] | Mixture,
    eval_pairs: Sequence[PreferencePair] | None,
) -> tuple[Mixture, Sequence[PreferencePair], str | None]:
    """Return the training pairs, the held-out pairs, and a sentence for the user if they share pairs or replies."""
    mixture = Mixture.of(pairs)
    if eval_pairs is not None:
        return mixture, eval_pairs, check_overlap(mixture.pairs, eval_pairs)
    rest, held = mixture.split(config.eval_fraction, config.seed)
    return rest, held, check_exchanged(held)


def _prepare(
    config: RewardTrainingConfig, accelerator: Accelerator, mixture: Mixture, held_out: Sequence[PreferencePair]
) -> TrainingRun:
    """Load the base, tokenize the pairs, and make the model ready for training."""
    config, loaded = load_once(accelerator, partial(load_base, config))
    data = TrainingData.encode(loaded.tokens, mixture, held_out, every_turn=config.objective.reads_turns)
    data.require_pairs(config)
    return TrainingRun.prepare(config, accelerator, loaded, data)


def load_base(config: RewardTrainingConfig) -> tuple[RewardTrainingConfig, LoadedCheckpoint]:
    """Load the base under the contract that the trained model will have; settle its readout and longest length."""
    dtype = getattr(torch, config.states.weight_dtype)
    loaded = load_checkpoint(
        config.base,
        dtype=dtype,
        head_seed=config.seed,
        max_length=config.max_length,
        chat_template=config.chat_template,
        read_at=config.read_at,
    )
    readout = config.objective.readout or loaded.tokens.contract.readout
    objective = config.objective.model_copy(update={"readout": readout})
    tokens = loaded.tokens.with_contract(readout=readout)
    settled = {"objective": objective, "max_length": tokens.contract.max_length}
    return config.model_copy(update=settled), replace(loaded, tokens=tokens)


def setting_notes(asked: RewardTrainingConfig, config: RewardTrainingConfig, overlap: str | None) -> Iterator[str]:
    """Yield what a user should know about settings and pairs before the run."""
    if config.max_length < asked.max_length:
        yield (
            f"--max-length {asked.max_length} is more than {config.base} can read: conversations are cut to its own "
            f"limit, {config.max_length} tokens"
        )
    if overlap is not None:
        yield overlap


def _start(run: TrainingRun, notes: Iterable[str]) -> tuple[TrainingStart, History]:
    """Evaluate the base; then restore the last checkpoint if the run resumes."""
    try:
        before = run.evaluate(0)
    except TrainingDivergedError as error:  # before the first step, rewards that are not finite are the base's own
        raise InvalidInputError(
            f"{run.config.base}: expected a model whose rewards are numbers, but {error}"
        ) from error
    history = run.begin()
    start = TrainingStart(
        description=run.description,
        pairs=run.data.accounting,
        sources=run.data.sources,
        held_out=run.data.held_out_accounting,
        before=before.metrics if before else None,
        first_step=history.step,
        num_steps=run.num_steps,
        notes=tuple(notes),
    )
    return start, history


def _finish(run: TrainingRun, start: TrainingStart, history: History, speed: Throughput) -> RewardTrainingResult:
    """Restore the best weights, save them with the record, and remove the checkpoints."""
    seconds, tokens_per_second = speed.seconds, speed.tokens_per_second
    best, notes = history.best, start.notes
    if best is not None and best.step != history.step:
        run.restore_best(best.step)
    if best and start.before and best.metrics.nll > start.before.nll:
        notes += (
            f"the saved weights are worse than the base on the held-out pairs: NLL {best.metrics.nll:.4f}, "
            f"{start.before.nll:.4f} before training",
        )
    result = RewardTrainingResult(
        config=run.config,
        description=start.description,
        pairs=start.pairs,
        sources=start.sources,
        held_out=start.held_out,
        before=start.before,
        after=best.metrics if best else None,
        evaluations=history.evaluations,
        saved_step=best.step if best else history.step,
        saved_dtype="float32" if run.adapters else run.config.states.weight_dtype,
        merged_adapters=run.adapters is not None,
        notes=notes,
        stopped_early=history.step < run.num_steps,
        num_steps=history.step,
        num_tokens=history.num_tokens,
        packing=history.packing,
        seconds=seconds,
        tokens_per_second=tokens_per_second,
        losses=history.losses,
        versions={name: version(name) for name in ("torch", "transformers", "accelerate")},
    )
    _save(run, best, result)
    return result


def _save(run: TrainingRun, best: HeldOutEvaluation | None, result: RewardTrainingResult) -> None:
    """Save a vanilla checkpoint, its tokenizer, its contract and the record; every process must call it.

    Raises:
        MusicError: A file cannot be written, for example because the disk is full.
    """
    weights = gather_weights(run.optimizer.scorer) if run.adapters is None else None
    if run.accelerator.is_main_process:
        out = run.config.out
        tokens = run.tokens.with_contract(reference=best.rewards if best else None)
        classifier = run.optimizer.classifier if run.adapters is None else merge_adapters(run.adapters)
        classifier.config = run.base_config
        (out / RECORD_FILE).unlink(missing_ok=True)  # of the model that this one replaces, if any
        try:
            save_model(classifier, tokens.tokenizer, out, state_dict=weights)
            tokens.contract.save(out)
            write_model_card(result, tokens.contract)
            sync_folder(out)  # before the record, after which the checkpoints are removed
            with whole_file(out / RECORD_FILE) as file:
                file.write(result.model_dump_json(indent=2).encode() + b"\n")
        except (OSError, SafetensorError) as error:
            last = run.checkpoints.paths[-1].name if run.checkpoints.paths else "there is none"
            raise MusicError(
                f"--out {out}: the model could not be written ({error}): fix that and resume from the last checkpoint, "
                f"{last} (--resume)"
            ) from error
        run.checkpoints.remove()
    run.accelerator.wait_for_everyone()
