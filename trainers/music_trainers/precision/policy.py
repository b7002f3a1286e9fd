"""The formats of weights and optimizer states. Imports no torch: the command line reads its flags from here."""

from enum import StrEnum
from typing import Literal

__all__ = ["BLOCK_SIZE", "StatesPolicy", "bytes_per_parameter"]

BLOCK_SIZE = 256
"""Number of 8-bit moments that share one fp32 scale."""


class StatesPolicy(StrEnum):
    """How weights and AdamW's two moments are kept between steps; every step computes in fp32."""

    FP32 = "fp32"
    """All in fp32: `torch.optim.AdamW`."""
    SPLIT_MASTER = "split_master"
    """bf16 weights, and the 16 bits that complete them to fp32 master weights; bf16 moments."""
    BF16_STOCHASTIC = "bf16_stochastic"
    """bf16 weights and moments, rounded stochastically."""
    BF16_STOCHASTIC_8BIT = "bf16_stochastic_8bit"
    """bf16 weights, rounded stochastically; moments in 8 bits."""

    @property
    def weight_dtype(self) -> Literal["float32", "bfloat16"]:
        """The torch data type in which the model is loaded."""
        return "float32" if self is StatesPolicy.FP32 else "bfloat16"


_MOMENTS_8BIT = 2 * (1 + 4 / BLOCK_SIZE)
_BYTES = {
    StatesPolicy.FP32: 4 + 4 + 8,
    StatesPolicy.SPLIT_MASTER: 2 + 2 + 2 + 4,
    StatesPolicy.BF16_STOCHASTIC: 2 + 2 + 4,
    StatesPolicy.BF16_STOCHASTIC_8BIT: 2 + 2 + _MOMENTS_8BIT,
}


def bytes_per_parameter(policy: StatesPolicy) -> float:
    """Return the bytes of weights, gradients and states together, per parameter of a matrix.

    For 9.24e9 parameters (Gemma-2-9B as a reward model) that is 148 GB in `fp32`, 92 GB in `split_master`, 74 GB in
    `bf16_stochastic` and 56 GB in `bf16_stochastic_8bit`. In the last, a vector takes 8 bytes per element, and a
    matrix whose width is not a multiple of `BLOCK_SIZE` takes slightly more than this.
    """
    return _BYTES[policy]
