"""`Progress`: what a policy run has measured, and what happens at the end of its steps: evaluations and checkpoints."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from music.files import replace_file
from music.quiet import quiet_transformers
from music_trainers.policy.checkpoints import PolicyCheckpoints, RunState
from music_trainers.policy.config import STEPS_FILE, PolicyTrainingConfig
from music_trainers.policy.evaluation import HeldOutEpisodes
from music_trainers.policy.interrupts import InterruptAtStep
from music_trainers.policy.records import PolicyEvaluation
from music_trainers.policy.steps import TrainingStep
from music_trainers.policy.trainer import TurnTrainer

__all__ = ["Hooks", "Progress"]


@dataclass(frozen=True, slots=True)
class Hooks:
    """Functions that follow a run.

    Attributes:
        on_evaluation: Called with each evaluation.
        on_step: Called after each step with its number, from 1, and with that of a resumed run at its start.
        on_notice: Called with lines for people.
    """

    on_evaluation: Callable[[PolicyEvaluation], None] = lambda _: None
    on_step: Callable[[int], None] = lambda _: None
    on_notice: Callable[[str], None] = lambda _: None


class Progress(TrainerCallback):
    """Follows a run: reports steps, evaluates the policy at the start, at intervals and at the end, and saves.

    Args:
        config: The settings.
        trainer: The trainer; this becomes one of its callbacks.
        held_out: The held-out episodes.
        checkpoints: Where to save.
        hooks: Functions that follow the run.

    Attributes:
        curve: The evaluations so far.
        steps: The steps so far.
    """

    def __init__(
        self,
        config: PolicyTrainingConfig,
        trainer: TurnTrainer,
        held_out: HeldOutEpisodes,
        checkpoints: PolicyCheckpoints,
        hooks: Hooks,
    ) -> None:
        self._config, self._trainer, self._held_out = config, trainer, held_out
        self._checkpoints, self._hooks = checkpoints, hooks
        self._interrupt = InterruptAtStep(lambda: trainer.is_updating, hooks.on_notice)
        self._greedy_before: PolicyEvaluation | None = None
        self.curve: list[PolicyEvaluation] = []
        self.steps: list[TrainingStep] = []
        self._began = time.monotonic()
        trainer.add_callback(self)

    @property
    def seconds(self) -> float:
        """The duration of the run so far, without the time between an interruption and its resumption."""
        return time.monotonic() - self._began

    @property
    def greedy_before(self) -> PolicyEvaluation:
        """The starting policy with greedy replies."""
        assert self._greedy_before is not None
        return self._greedy_before

    def begin(self, greedy_before: PolicyEvaluation) -> None:
        """Begin at the first step."""
        self._greedy_before = greedy_before

    def resume(self, state: RunState) -> None:
        """Continue from a checkpoint."""
        self._greedy_before = state.greedy_before
        self.curve, self.steps = list(state.curve), list(state.steps)
        self._began -= state.seconds

    def train(self, checkpoint: Path | None) -> None:
        """Train until the last step. Ctrl-C waits for the end of a step's updates."""
        with self._interrupt, quiet_transformers():
            self._trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))

    def save(self) -> Path | None:
        """Save the state after the last whole step; return None if there is none, or if weights are changing."""
        if not self._trainer.step or self._trainer.is_updating:
            return None
        state = RunState(
            settings=dict(self._checkpoints.settings),
            step=self._trainer.step,
            greedy_before=self.greedy_before,
            curve=tuple(self.curve),
            steps=tuple(self.steps),
            seconds=self.seconds,
        )
        return self._checkpoints.save(state, self._trainer.save_state)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report the step of a resumed run, and evaluate if that is due and not done."""
        if self._trainer.step:
            self._hooks.on_step(self._trainer.step)
        self._evaluate_if_due(kwargs["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report a step, evaluate and save if that is due. It is also called after updates within a step."""
        if self._trainer.is_updating:
            return
        step = self._trainer.step
        self.steps.append(TrainingStep.of(step, self._trainer.played))
        replace_file(self._config.out / STEPS_FILE, "".join(f"{each.model_dump_json()}\n" for each in self.steps))
        self._hooks.on_step(step)
        self._interrupt.raise_pending()
        self._evaluate_if_due(kwargs["model"])
        if self._config.checkpoint_every and step % self._config.checkpoint_every == 0:
            self.save()

    def _evaluate_if_due(self, model: Any) -> None:
        step = self._trainer.step
        is_due = step % self._config.evaluate_every == 0 or step == self._config.num_steps
        if is_due and not (self.curve and self.curve[-1].step == step):
            self.curve.append(self._held_out.evaluate(model, step)[0])
            self._hooks.on_evaluation(self.curve[-1])
