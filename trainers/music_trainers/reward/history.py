"""`History`, the losses and evaluations that checkpoints keep, and `Throughput`, the speed since the process began."""

import math
import time
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from music_trainers.reward.records import HeldOutEvaluation, PackingAccounting

__all__ = ["History", "Throughput", "flops_per_token"]


WINDOW, MIN_WINDOW = 100, 20
"""Number of earlier losses that a loss is compared with, and the least number needed."""
FACTOR, NUM_STEPS = 3.0, 5
"""A loss above this multiple of their mean is suspicious; this many in a row mean that the run diverges."""


@dataclass(slots=True)
class History:
    """The losses and evaluations of a run so far.

    Attributes:
        losses: Loss of every step.
        evaluations: Held-out evaluations, in order.
        num_tokens: Tokens of all sides of all steps; a shared token counts once for each side that shares it.
        packing: Tokens that packing saved so far.
    """

    losses: list[float] = field(default_factory=list)
    evaluations: list[HeldOutEvaluation] = field(default_factory=list)
    num_tokens: int = 0
    packing: PackingAccounting = field(default_factory=PackingAccounting)

    @property
    def step(self) -> int:
        """Steps taken."""
        return len(self.losses)

    @property
    def best(self) -> HeldOutEvaluation | None:
        """The evaluation with the lowest held-out NLL, the first of equals."""
        return min(self.evaluations, key=lambda evaluation: evaluation.metrics.nll, default=None)

    @property
    def num_stale(self) -> int:
        """Evaluations since the best one."""
        return len(self.evaluations) - 1 - self.evaluations.index(self.best) if self.best else 0

    @property
    def num_suspicious(self) -> int:
        """Number of last losses in a row that are far above those before them.

        They must also be above log 2, the loss of a model that knows nothing, as jumps of tiny losses are harmless.
        """
        for count in range(NUM_STEPS, 0, -1):
            before = self.losses[:-count][-WINDOW:]
            if len(before) >= MIN_WINDOW:
                bound = max(math.log(2), FACTOR * sum(before) / len(before))
                if all(loss > bound for loss in self.losses[-count:]):
                    return count
        return 0

    @property
    def has_diverged(self) -> bool:
        """Whether the loss has been far above what it was for several steps."""
        return self.num_suspicious >= NUM_STEPS

    def state(self) -> dict[str, Any]:
        """Return the history as plain data."""
        return {
            "losses": self.losses,
            "evaluations": [evaluation.model_dump() for evaluation in self.evaluations],
            "num_tokens": self.num_tokens,
            "packing": self.packing.model_dump(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """Return the history that `state` returned as plain data."""
        evaluations = [HeldOutEvaluation.model_validate(each) for each in state["evaluations"]]
        return cls(state["losses"], evaluations, state["num_tokens"], PackingAccounting(**state["packing"]))


@dataclass(slots=True)
class Throughput:
    """Counts tokens since this process began to train.

    Attributes:
        flops_per_token: See the function of this name.
        peak_flops: Peak FLOP/s of all devices together; None if it is not known.
        num_tokens: Tokens of all sides; a shared token counts once for each side that shares it.
        num_computed: Computed tokens.
        began: Start time on the clock of `time.perf_counter`.
    """

    flops_per_token: int
    peak_flops: float | None
    num_tokens: int = 0
    num_computed: int = 0
    began: float = field(default_factory=time.perf_counter)

    @classmethod
    def of(cls, classifier: PreTrainedModel, accelerator: Accelerator, peak_tflops: float | None) -> Self:
        """Start counting; `peak_tflops` is one device's peak in 1e12 operations a second, measured on CUDA if None."""
        peak = None if peak_tflops is None else peak_tflops * 1e12
        if peak is None and accelerator.device.type == "cuda":
            peak = _measured_peak(accelerator.device)
        return cls(flops_per_token(classifier), None if peak is None else peak * accelerator.num_processes)

    @property
    def seconds(self) -> float:
        """Time since the beginning."""
        return time.perf_counter() - self.began

    @property
    def tokens_per_second(self) -> float:
        """Tokens of all sides per second."""
        return self.num_tokens / self.seconds

    @property
    def model_flops_share(self) -> float | None:
        """Share of the peak that went into the model."""
        if self.peak_flops is None:
            return None
        return self.flops_per_token * self.num_computed / self.seconds / self.peak_flops


def flops_per_token(classifier: PreTrainedModel) -> int:
    """Return the FLOPs of training per computed token: 6 for each weight of a matrix that is not an embedding.

    A frozen weight takes 4, as it gets no gradient.

    Attention and the recomputation of activation checkpointing are left out, so the share of the peak is slightly
    understated.
    """
    embeddings = {id(weight) for weight in classifier.get_input_embeddings().parameters()}
    matrices = [w for w in classifier.parameters() if w.dim() == 2 and id(w) not in embeddings]
    return sum((6 if weight.requires_grad else 4) * weight.numel() for weight in matrices)


def _measured_peak(device: torch.device) -> float:
    """Return the FLOP/s of large bf16 matrix products on a CUDA device."""
    size, num_products = 8192, 20
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        left @ right
    torch.cuda.synchronize(device)
    began = time.perf_counter()
    for _ in range(num_products):
        left @ right
    torch.cuda.synchronize(device)
    return 2 * size**3 * num_products / (time.perf_counter() - began)
