"""Train a reward model on preference pairs: Bradley-Terry, `-log sigmoid(r(chosen) - r(rejected))`.

`train_reward_model` is the run; what shapes it and what comes out are in `music_trainers.records`. The checkpoint that
it leaves is vanilla: `AutoModelForSequenceClassification`, its tokenizer and the score contract, with `training.json`
for the record. Batches and the account of pairs are in `music_trainers.data`, the optimizer step in
`music_trainers.optimization`, resumable checkpoints in `music_trainers.checkpoints`.
"""

import hashlib
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from music.errors import InvalidInputError
from music.pairs import PreferencePair
from music.preferences import split_pairs
from music.reward.contract import RewardStatistics
from music.reward.loading import LoadedCheckpoint, load_checkpoint
from music.reward.model import RewardModel, count_text, resolve_device
from music.reward.tokens import ConversationTokenizer
from music_trainers.checkpoints import Checkpoints
from music_trainers.data import EncodedPair, encode_pairs, iterate_batches, num_batches
from music_trainers.metrics import evaluate
from music_trainers.optimization import PairOptimizer, TrainingDivergedError, cosine_learning_rate
from music_trainers.records import (
    HeldOutMetrics,
    RewardTrainingConfig,
    RewardTrainingResult,
    TrainingStart,
    TrainingStep,
)

__all__ = ["train_reward_model"]

CHECKPOINT_FOLDER = "checkpoints"
RECORD_FILE = "training.json"


@dataclass(slots=True)
class _Progress:
    """Where a run stands: as many steps as losses."""

    losses: list[float]
    num_tokens: int = 0


@dataclass(frozen=True, slots=True)
class _Run:
    """What a run works with."""

    config: RewardTrainingConfig
    accelerator: Accelerator
    optimizer: PairOptimizer
    tokens: ConversationTokenizer
    train: list[EncodedPair]
    held_out: list[EncodedPair]
    checkpoints: Checkpoints
    num_steps: int

    def evaluate(self) -> tuple[HeldOutMetrics | None, RewardStatistics | None]:
        """Measure on the held-out pairs, if there are any."""
        if not self.held_out:
            return None, None
        pad_token_id = self.tokens.contract.pad_token_id
        return evaluate(self.optimizer.classifier, self.held_out, self.accelerator, pad_token_id)


def train_reward_model(
    config: RewardTrainingConfig,
    pairs: Sequence[PreferencePair],
    eval_pairs: Sequence[PreferencePair] | None = None,
    *,
    on_start: Callable[[TrainingStart], None] = lambda start: None,
    on_step: Callable[[TrainingStep], None] = lambda step: None,
) -> RewardTrainingResult:
    """Train a reward model and save it to `config.out`.

    Args:
        config: The run. With the same config, pairs and library versions, the CPU gives the same weights again.
        pairs: To learn from.
        eval_pairs: Held-out pairs; if None, `config.eval_fraction` of the seed conversations are held out of `pairs`.
        on_start: Called once, before the first step.
        on_step: Called after every optimizer step.

    Raises:
        InvalidInputError: No pair is left to train on, or the base cannot be trained, or the run cannot resume.
        TrainingDivergedError: The loss is no longer finite.
    """
    set_seed(config.seed)
    if eval_pairs is None:
        pairs, eval_pairs = split_pairs(pairs, config.eval_fraction, config.seed)
    accelerator = _accelerator(config)
    loaded = load_checkpoint(config.base, dtype=torch.float32, head_seed=config.seed, max_length=config.max_length)
    train, accounting = encode_pairs(loaded.tokens, pairs)
    held_out, held_out_accounting = encode_pairs(loaded.tokens, eval_pairs)
    if not train:
        raise InvalidInputError(f"no pair is left to train on: {accounting}")
    run = _prepare(config, accelerator, loaded, train, held_out)
    before, _ = run.evaluate()
    progress = _resumed(run) if config.resume else _Progress([])
    start = TrainingStart(
        description=_description(loaded, accelerator),
        pairs=accounting,
        held_out=held_out_accounting,
        before=before,
        first_step=len(progress.losses),
        num_steps=run.num_steps,
    )
    on_start(start)
    began = time.perf_counter()
    _optimize(run, progress, on_step)
    seconds = time.perf_counter() - began
    return _finish(run, start, progress, seconds)


def _accelerator(config: RewardTrainingConfig) -> Accelerator:
    on_cpu = resolve_device(None if config.device == "auto" else config.device).type == "cpu"
    accelerator = Accelerator(cpu=on_cpu, mixed_precision="no" if on_cpu else "bf16")
    if accelerator.num_processes > 1:
        raise InvalidInputError(f"expected one process, got {accelerator.num_processes}: launch the trainer directly")
    return accelerator


def _prepare(
    config: RewardTrainingConfig,
    accelerator: Accelerator,
    loaded: LoadedCheckpoint,
    train: list[EncodedPair],
    held_out: list[EncodedPair],
) -> _Run:
    """Place the model and lay out the run."""
    optimizer = PairOptimizer(
        loaded.classifier,
        accelerator,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        micro_batch_tokens=config.micro_batch_tokens,
        pad_token_id=loaded.tokens.contract.pad_token_id,
    )
    checkpoints = Checkpoints(
        config.out / CHECKPOINT_FOLDER, identity=_identity(config, train), keep=config.keep_checkpoints
    )
    if not config.resume:
        checkpoints.require_none()
    num_steps = config.max_steps or config.num_epochs * num_batches(len(train), config.batch_size)
    return _Run(config, accelerator, optimizer, loaded.tokens, train, held_out, checkpoints, num_steps)


def _identity(config: RewardTrainingConfig, train: Sequence[EncodedPair]) -> dict[str, str]:
    """Name what the course of a run depends on."""
    without = {"out", "micro_batch_tokens", "checkpoint_every", "keep_checkpoints", "resume", "device"}
    digest = hashlib.sha256()
    for pair in train:
        digest.update(array("q", [len(pair.chosen), *pair.chosen, *pair.rejected]).tobytes())
    settings = {name: str(value) for name, value in config.model_dump(exclude=without).items()}
    return settings | {"training pairs": digest.hexdigest()[:16]}


def _optimize(run: _Run, progress: _Progress, on_step: Callable[[TrainingStep], None]) -> None:
    """Take the steps that are left, with a checkpoint now and then."""
    config = run.config
    lengths = [pair.length for pair in run.train]
    run.optimizer.classifier.train()
    batches = iterate_batches(lengths, config.batch_size, config.seed, start=len(progress.losses))
    for step in range(len(progress.losses), run.num_steps):
        batch = [run.train[i] for i in next(batches)]
        record = _step(run, progress, step, batch)
        on_step(record)
        if config.checkpoint_every and record.step % config.checkpoint_every == 0:
            run.checkpoints.save(record.step, _state(run, progress))


def _step(run: _Run, progress: _Progress, step: int, batch: Sequence[EncodedPair]) -> TrainingStep:
    """Take one optimizer step and note it."""
    config = run.config
    rate = cosine_learning_rate(step, run.num_steps, config.learning_rate, config.warmup_fraction)
    try:
        outcome = run.optimizer.step(batch, rate)
    except TrainingDivergedError as error:
        last = run.checkpoints.paths[-1] if run.checkpoints.paths else "none was written"
        raise TrainingDivergedError(
            f"training diverged at step {step + 1}: {error}. Lower the learning rate ({config.learning_rate}); "
            f"last checkpoint: {last}"
        ) from error
    progress.losses.append(outcome.loss)
    progress.num_tokens += sum(pair.num_tokens for pair in batch)
    return TrainingStep(
        step=step + 1,
        num_steps=run.num_steps,
        loss=outcome.loss,
        accuracy=outcome.num_correct / len(batch),
        learning_rate=rate,
        grad_norm=outcome.grad_norm,
        num_tokens=progress.num_tokens,
    )


def _state(run: _Run, progress: _Progress) -> dict[str, object]:
    """Return all that the next step depends on, and the history."""
    return {
        "classifier": run.optimizer.classifier.state_dict(),
        "optimizer": run.optimizer.optimizer.state_dict(),
        "rng": torch.get_rng_state(),
        "device_rng": torch.cuda.get_rng_state() if run.accelerator.device.type == "cuda" else None,
        "losses": progress.losses,
        "num_tokens": progress.num_tokens,
    }


def _resumed(run: _Run) -> _Progress:
    """Go back to where the last checkpoint stood, or begin if there is none."""
    state = run.checkpoints.load_last()
    if state is None:
        return _Progress([])
    run.optimizer.classifier.load_state_dict(state["classifier"])
    run.optimizer.optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    if state["device_rng"] is not None and run.accelerator.device.type == "cuda":
        torch.cuda.set_rng_state(state["device_rng"])
    return _Progress(state["losses"], state["num_tokens"])


def _finish(run: _Run, start: TrainingStart, progress: _Progress, seconds: float) -> RewardTrainingResult:
    """Measure, save the model with its record, and drop the checkpoints."""
    after, reference = run.evaluate()
    result = RewardTrainingResult(
        config=run.config,
        description=start.description,
        pairs=start.pairs,
        held_out=start.held_out,
        before=start.before,
        after=after,
        num_steps=run.num_steps,
        num_tokens=progress.num_tokens,
        seconds=seconds,
        losses=progress.losses,
        versions={name: version(name) for name in ("torch", "transformers", "accelerate")},
    )
    contract = run.tokens.contract.model_copy(update={"reference": reference})
    tokens = ConversationTokenizer(run.tokens.tokenizer, contract)
    classifier = run.accelerator.unwrap_model(run.optimizer.classifier)
    RewardModel(classifier, tokens, str(run.accelerator.device)).save_pretrained(run.config.out)
    (run.config.out / RECORD_FILE).write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    run.checkpoints.remove()
    return result


def _description(loaded: LoadedCheckpoint, accelerator: Accelerator) -> str:
    """Name model, head, device and precision."""
    classifier = loaded.classifier
    precision = "bf16 over fp32 weights" if accelerator.mixed_precision == "bf16" else "fp32"
    head = "new head" if loaded.new_head else "its own head"
    return f"{type(classifier).__name__} ({count_text(classifier)}, {head}) on {accelerator.device} in {precision}"
