"""From fp32 to bf16 without losing small updates: stochastic rounding, and a remainder that completes the value.

A bf16 number has 8 significant bits. An update below 1/512 of a weight, as most are at rates about 1e-6, is lost when
the sum is rounded to the nearest bf16; so is the decay of a moment by a factor of 0.999.
"""

import numpy as np
import torch
from torch import Tensor

__all__ = ["join_master", "round_stochastically", "seed_of", "split_master"]


def seed_of(*key: int) -> int:
    """Return the seed of a key's own stream of noise.

    Noise that follows from (seed, step, parameter) needs no generator's state in a checkpoint: a resumed run draws as
    an uninterrupted one, and replicas draw alike.
    """
    words = np.random.SeedSequence([number % (1 << 64) for number in key]).generate_state(1, np.uint64)
    return int(words[0])


def round_stochastically(values: Tensor, generator: torch.Generator) -> Tensor:
    """Round fp32 to one of the two bf16 neighbours, the nearer the likelier: right in the mean.

    A value that is a bf16 number stays itself. Infinities and NaN are not expected.
    """
    # bf16 is the upper half of fp32: a uniform 16-bit number carries over into it as often as the lower half is large.
    bits = torch.randint(0, 1 << 16, values.shape, generator=generator, dtype=torch.int32, device=values.device)
    bits.add_(values.view(torch.int32)).bitwise_and_(-1 << 16)
    return bits.view(torch.float32).to(torch.bfloat16)


def split_master(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return fp32 values as their nearest bf16 and an int16 remainder, which `join_master` undoes bit for bit.

    Halfway cases go away from zero.
    """
    bits = values.view(torch.int32)
    upper = (bits + (1 << 15)) >> 16
    remainder = bits - (upper << 16)
    return upper.to(torch.int16).view(torch.bfloat16), remainder.to(torch.int16)


def join_master(rounded: Tensor, remainder: Tensor) -> Tensor:
    """Return the fp32 values that `split_master` took apart."""
    upper = rounded.view(torch.int16).to(torch.int32) << 16
    return (upper + remainder).view(torch.float32)
