"""How fast a run is: tokens per second, and the share of the device's peak that goes into the model."""

import time
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel

__all__ = ["Throughput", "flops_per_token", "measured_peak"]

MATRIX, NUM_PRODUCTS = 8192, 20


def flops_per_token(classifier: PreTrainedModel) -> int:
    """Return what training takes for each computed token: 6 for each weight of a matrix that is not looked up.

    A frozen weight takes 4, as it gets no gradient of its own.

    Attention is left out, and so is what activation checkpointing computes again: the share of the peak is
    somewhat understated rather than flattered.
    """
    embeddings = {id(weight) for weight in classifier.get_input_embeddings().parameters()}
    matrices = [w for w in classifier.parameters() if w.dim() == 2 and id(w) not in embeddings]
    return sum((6 if weight.requires_grad else 4) * weight.numel() for weight in matrices)


def measured_peak(device: torch.device) -> float:
    """Return the FLOP/s of large bf16 matrix products on a CUDA device."""
    left, right = (torch.randn(MATRIX, MATRIX, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        left @ right
    torch.cuda.synchronize(device)
    began = time.perf_counter()
    for _ in range(NUM_PRODUCTS):
        left @ right
    torch.cuda.synchronize(device)
    return 2 * MATRIX**3 * NUM_PRODUCTS / (time.perf_counter() - began)


@dataclass(slots=True)
class Throughput:
    """Counts since this process began to train.

    Attributes:
        flops_per_token: See the function of this name.
        peak_flops: Of all devices together; None if it is not known.
        num_tokens: Tokens of all sides, shared ones as often as they are shared.
        num_computed: Tokens that were computed.
        began: On the clock of `time.perf_counter`.
    """

    flops_per_token: int
    peak_flops: float | None
    num_tokens: int = 0
    num_computed: int = 0
    began: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Time since the beginning."""
        return time.perf_counter() - self.began

    @property
    def tokens_per_second(self) -> float:
        """Tokens of all sides a second."""
        return self.num_tokens / self.seconds

    @property
    def model_flops_share(self) -> float | None:
        """Share of the peak that went into the model."""
        if self.peak_flops is None:
            return None
        return self.flops_per_token * self.num_computed / self.seconds / self.peak_flops
