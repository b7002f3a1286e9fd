"""`TrainingRun`: the model, pairs, schedule and checkpoints of a run, and how a run is prepared, saved and resumed."""

import hashlib
from array import array
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from transformers import PreTrainedConfig

from music.reward.loading import LoadedCheckpoint, count_text
from music.reward.tokens.encoding import ConversationTokenizer
from music_trainers.precision.rounding import seed_of
from music_trainers.reward.checkpoints import Checkpoints
from music_trainers.reward.config import CHECKPOINT_FOLDER, RewardTrainingConfig
from music_trainers.reward.distributed import gather_optimizer, gather_weights, scatter_optimizer, scatter_weights
from music_trainers.reward.history import History
from music_trainers.reward.mixture import TrainingData
from music_trainers.reward.optimizer import PairOptimizer
from music_trainers.reward.pairs import EncodedPair
from music_trainers.reward.records import HeldOutEvaluation
from music_trainers.reward.schedule import BatchSchedule
from music_trainers.reward.trainable import make_trainable, quantise, require_fitting_rate

__all__ = ["TrainingRun"]

WITHOUT_INFLUENCE = {
    *("out", "micro_batch_tokens", "activation_checkpointing", "checkpoint_every", "keep_checkpoints", "resume"),
    *("device", "tracker", "peak_tflops", "allow_large_rate", "overwrite"),
}
"""Settings that change a run by rounding only; a resumed run may have other values."""


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """A run that is ready for its first step.

    Attributes:
        config: Its settings.
        description: Model, device and precision, for people to read.
        accelerator: Device and processes.
        optimizer: Holds the model.
        tokens: The path from messages to tokens.
        data: The training pairs and the held-out pairs.
        schedule: Which pairs each step sees.
        checkpoints: The checkpoints from which it can resume.
        num_steps: Optimizer steps, unless the run stops early.
        adapters: peft's model of the adapters; None without LoRA.
        base_config: The base's config before it is changed for training.
    """

    config: RewardTrainingConfig
    description: str
    accelerator: Accelerator
    optimizer: PairOptimizer
    tokens: ConversationTokenizer
    data: TrainingData
    schedule: BatchSchedule
    checkpoints: Checkpoints
    num_steps: int
    adapters: Any
    base_config: PreTrainedConfig

    @classmethod
    def prepare(
        cls,
        config: RewardTrainingConfig,
        accelerator: Accelerator,
        loaded: LoadedCheckpoint,
        data: TrainingData,
    ) -> "TrainingRun":
        """Prepare the model for training and plan the steps.

        Raises:
            InvalidInputError: The learning rate does not fit the model, or the model lacks something that the config
                needs.
        """
        classifier = loaded.classifier
        require_fitting_rate(config, classifier)
        base_config, description = deepcopy(classifier.config), _description(loaded, accelerator, config)
        if config.load_in_4bit:
            quantise(classifier, accelerator)
        adapters = make_trainable(classifier, config)
        checkpoints = Checkpoints(
            config.out / CHECKPOINT_FOLDER,
            identity=_identity(config, data),
            keep=config.keep_checkpoints,
        )
        schedule = BatchSchedule(
            lengths=[pair.length for pair in data.train],
            batch_size=config.batch_size,
            seed=config.seed,
            sources=[(source.pairs.num_used, source.weight) for source in data.sources],
            clusters=[pair.seed for pair in data.train] if config.keeps_seeds_together else None,
        )
        return cls(
            config,
            description,
            accelerator,
            PairOptimizer(classifier, accelerator, config),
            loaded.tokens,
            data,
            schedule,
            checkpoints,
            config.max_steps or config.num_epochs * schedule.num_batches,
            adapters,
            base_config,
        )

    def evaluate(self, step: int) -> HeldOutEvaluation | None:
        """Measure on the held-out pairs, if there are any."""
        if not self.data.held_out:
            return None
        metrics, rewards = self.optimizer.evaluate(self.data.held_out)
        return HeldOutEvaluation(step=step, metrics=metrics, rewards=rewards)

    def seed_noise(self, step: int) -> None:
        """Seed the random draws of a step. Each process draws its own dropout; a resumed run draws the same again."""
        torch.manual_seed(seed_of(self.config.seed, step, self.accelerator.process_index))

    def save(self, history: History) -> None:
        """Write a checkpoint from which the run can resume; every process must call it."""
        state = {
            "classifier": gather_weights(self.optimizer.scorer),
            "optimizer": gather_optimizer(self.accelerator, self.optimizer.scorer, self.optimizer.optimizer),
            "history": history.state(),
        }
        if self.accelerator.is_main_process:
            best = history.best.step if history.best else self.num_steps
            # Weights that are best after the last step are the model's own and have no file.
            self.checkpoints.save(history.step, state, best if best < self.num_steps else None)

    def save_best(self, step: int) -> None:
        """Keep the weights as the best so far; every process must call it."""
        weights = gather_weights(self.optimizer.scorer)
        if self.accelerator.is_main_process:
            self.checkpoints.save_best(step, weights)

    def restore_best(self, step: int) -> None:
        """Restore the best weights; every process must call it and see the folder."""
        self.accelerator.wait_for_everyone()
        scatter_weights(self.optimizer.scorer, self.checkpoints.load_best(step))

    def begin(self) -> History:
        """Return an empty history, or that of the last checkpoint if the run resumes and there is one."""
        if self.config.resume:
            return self._resume()
        if self.accelerator.is_main_process:
            self.checkpoints.remove()  # of an unfinished run that this one replaces
        return History()

    def _resume(self) -> History:
        state = self.checkpoints.load_last()
        if state is None:
            return History()
        scatter_weights(self.optimizer.scorer, state["classifier"])
        scatter_optimizer(self.accelerator, self.optimizer.scorer, self.optimizer.optimizer, state["optimizer"])
        return History.from_state(state["history"])


def _description(loaded: LoadedCheckpoint, accelerator: Accelerator, config: RewardTrainingConfig) -> str:
    """Describe model, head, device, precision and processes."""
    classifier = loaded.classifier
    is_fp32 = accelerator.mixed_precision == "no" and classifier.dtype == torch.float32
    precision = "fp32" if is_fp32 else f"bf16 over {config.states} states"
    head = "new head" if loaded.new_head else "its own head"
    text = f"{type(classifier).__name__} ({count_text(classifier)}, {head}) on {accelerator.device} in {precision}"
    if config.lora_rank:
        text += f", LoRA of rank {config.lora_rank}{' over 4 bits' if config.load_in_4bit else ''}"
    if accelerator.num_processes > 1:
        text += f", {accelerator.num_processes} processes{' with FSDP' if accelerator.is_fsdp2 else ''}"
    return text


def _identity(config: RewardTrainingConfig, data: TrainingData) -> dict[str, str]:
    """Return by name everything that the result of a run depends on."""
    settings = {name: str(value) for name, value in config.model_dump(exclude=WITHOUT_INFLUENCE).items()}
    weights = ", ".join(f"{source.pairs.num_used} x {source.weight:g}" for source in data.sources)
    digests = {"training pairs": _digest(data.train), "held-out pairs": _digest(data.held_out)}
    return settings | digests | {"sources": weights}


def _digest(pairs: Sequence[EncodedPair]) -> str:
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(array("q", [len(pair.chosen.ids), *pair.chosen.ids, *pair.rejected.ids]).tobytes())
        digest.update(array("d", [pair.margin]).tobytes())
    return digest.hexdigest()[:16]
