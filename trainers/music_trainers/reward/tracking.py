"""Following a run in an experiment tracker, through accelerate."""

from importlib.util import find_spec
from typing import Any

from accelerate import Accelerator

from music.errors import InvalidInputError
from music_trainers.reward.config import RewardTrainingConfig
from music_trainers.reward.records import HeldOutMetrics, TrainingStart, TrainingStep

__all__ = ["Tracking", "require_tracker"]

PROJECT = "music-rm"


def require_tracker(name: str | None) -> None:
    """Check that a tracker is installed.

    Raises:
        InvalidInputError: It is not.
    """
    if name is not None and find_spec(name) is None:
        raise InvalidInputError(f"tracker {name} is not installed: pip install {name}, or leave --tracker out")


class Tracking:
    """Sends a run's figures to accelerate's tracker; does nothing without one."""

    def __init__(self, accelerator: Accelerator, config: RewardTrainingConfig) -> None:
        self._accelerator = accelerator
        if config.tracker is not None:
            values = config.model_dump(mode="json", exclude={"objective"}) | config.objective.model_dump()
            settings = {name: value for name, value in values.items() if value is not None}
            accelerator.init_trackers(PROJECT, config=settings)

    def start(self, start: TrainingStart) -> None:
        """Send what is known before the first step."""
        if start.before is not None and start.first_step == 0:
            self._send(_held_out(start.before), 0)

    def step(self, step: TrainingStep) -> None:
        """Send one step's figures."""
        names = ("loss", "accuracy", "learning_rate", "grad_norm", "num_tokens", "tokens_per_second")
        figures = {f"train/{name}": float(getattr(step, name)) for name in names}
        if step.model_flops_share is not None:
            figures["train/model_flops_share"] = step.model_flops_share
        if step.evaluation is not None:
            figures |= _held_out(step.evaluation.metrics)
        self._send(figures, step.step)

    def end(self) -> None:
        """Let the tracker write what is left, and leave the process group."""
        self._accelerator.end_training()

    def _send(self, figures: dict[str, Any], step: int) -> None:
        self._accelerator.log(figures, step=step)


def _held_out(metrics: HeldOutMetrics) -> dict[str, float]:
    return {f"held_out/{name}": value for name, value in metrics.model_dump(exclude={"num_pairs"}).items()}
