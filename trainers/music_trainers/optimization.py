"""One optimizer step of Bradley-Terry training: the same whatever the micro-batches."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from music.errors import MusicError
from music.reward.forward import pad_right, pooled_rewards
from music_trainers.data import EncodedPair, micro_batches
from music_trainers.metrics import bradley_terry_losses

__all__ = ["PairOptimizer", "StepOutcome", "TrainingDivergedError", "cosine_learning_rate"]


class TrainingDivergedError(MusicError):
    """The loss or the gradient is no longer a finite number."""


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What one optimizer step saw, before its update.

    Attributes:
        loss: Mean over the step's pairs.
        num_correct: Pairs whose chosen side scored higher.
        grad_norm: Before clipping.
    """

    loss: float
    num_correct: int
    grad_norm: float


def cosine_learning_rate(step: int, num_steps: int, peak: float, warmup_fraction: float) -> float:
    """Return the rate of a step (from 0): linear from 0 up to `peak`, then along a cosine to 0."""
    warmup = math.ceil(num_steps * warmup_fraction)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))


class PairOptimizer:
    """AdamW over a classifier's fp32 weights; computes in bf16 where the accelerator does."""

    def __init__(
        self,
        classifier: nn.Module,
        accelerator: Accelerator,
        *,
        weight_decay: float,
        max_grad_norm: float,
        micro_batch_tokens: int,
        pad_token_id: int,
    ) -> None:
        optimizer = torch.optim.AdamW(classifier.parameters(), lr=0.0, weight_decay=weight_decay, fused=True)
        self.classifier: nn.Module
        self.optimizer: Any
        self.classifier, self.optimizer = accelerator.prepare(classifier, optimizer)
        self._accelerator = accelerator
        self._max_grad_norm = max_grad_norm
        self._micro_batch_tokens = micro_batch_tokens
        self._pad_token_id = pad_token_id

    def step(self, batch: Sequence[EncodedPair], learning_rate: float) -> StepOutcome:
        """Accumulate the gradient of the batch's mean loss over micro-batches, then update once.

        Raises:
            TrainingDivergedError: Loss or gradient is not finite; the weights are as before the step.
        """
        self.optimizer.zero_grad()
        loss, num_correct = 0.0, 0
        for part in micro_batches(batch, self._micro_batch_tokens):
            chosen, rejected = self._rewards(part).chunk(2)
            # Dividing by the step's pairs, not the part's, makes the sum over parts the mean over the step.
            part_loss = bradley_terry_losses(chosen, rejected).sum() / len(batch)
            self._accelerator.backward(part_loss)
            loss += part_loss.item()
            num_correct += int((chosen > rejected).sum())
        grad_norm = float(self._accelerator.clip_grad_norm_(self.classifier.parameters(), self._max_grad_norm))
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise TrainingDivergedError(f"loss {loss}, gradient norm {grad_norm}")
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        return StepOutcome(loss, num_correct, grad_norm)

    def _rewards(self, pairs: Sequence[EncodedPair]) -> Tensor:
        """Return the rewards of the chosen sides, then of the rejected, `[2 * pairs]`."""
        sides = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
        device = self._accelerator.device
        input_ids = pad_right(sides, self._pad_token_id, device)
        columns = torch.tensor([len(side) - 1 for side in sides], device=device)
        with self._accelerator.autocast():
            return pooled_rewards(self.classifier, input_ids, torch.arange(len(sides), device=device), columns)
