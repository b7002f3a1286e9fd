"""Conversions between fp32 and formats of fewer bits, without losing small updates.

- Stochastic rounding to bf16, and fp32 split into bf16 and a remainder of 16 bits. bf16 has 8 significant bits. An
  update below 1/512 of a weight is lost when the sum is rounded to the nearest bf16, as most are at rates near 1e-6.
  So is the decay of a moment by a factor of 0.999.
- `BlockCode`: moments in 8 bits, relative to the largest magnitude of a block, which is kept in fp32
  [Dettmers et al., 8-bit Optimizers via Block-wise Quantization, 2021].
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from music_trainers.precision.policy import BLOCK_SIZE

__all__ = ["MEAN_CODE", "SQUARE_CODE", "BlockCode", "join_master", "round_stochastically", "seed_of", "split_master"]


def seed_of(*key: int) -> int:
    """Return a seed that depends on all numbers of a key.

    Noise seeded by (seed, step, parameter) needs no generator's state in a checkpoint: a resumed run draws the same
    noise as an uninterrupted one, and replicas draw the same noise.
    """
    words = np.random.SeedSequence([number % (1 << 64) for number in key]).generate_state(1, np.uint64)
    return int(words[0])


def round_stochastically(values: Tensor, generator: torch.Generator) -> Tensor:
    """Round fp32 to one of the two bf16 neighbours at random, so that the mean is the value itself.

    A value that is a bf16 number is unchanged. Values must be finite.
    """
    # bf16 is the upper half of fp32: a uniform 16-bit number carries over into it as often as the lower half is large.
    bits = torch.randint(0, 1 << 16, values.shape, generator=generator, dtype=torch.int32, device=values.device)
    bits.add_(values.view(torch.int32)).bitwise_and_(-1 << 16)
    return bits.view(torch.float32).to(torch.bfloat16)


def split_master(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return fp32 values as their nearest bf16 and an int16 remainder; `join_master` restores them bit for bit.

    Ties are rounded away from zero.
    """
    bits = values.view(torch.int32)
    upper = (bits + (1 << 15)) >> 16
    remainder = bits - (upper << 16)
    return upper.to(torch.int16).view(torch.bfloat16), remainder.to(torch.int16)


def join_master(rounded: Tensor, remainder: Tensor) -> Tensor:
    """Return the fp32 values from the two parts that `split_master` returns."""
    upper = rounded.view(torch.int16).to(torch.int32) << 16
    return (upper + remainder).view(torch.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockCode:
    """An 8-bit code for the numbers of a block.

    Blocks of `BLOCK_SIZE` are within a row, so sharding by rows cuts none, and a row that is seldom updated (an
    embedding's) has its own scales. A code c means (c / levels)^p times the scale, which is fine near the largest
    number and reaches down to 1e-8 of it. The codes of the second moment have twice the power of the first's, so that
    its root reaches as low as the first moment: if the mean is not zero, neither is the spread. Codes are rounded
    stochastically. Rounded to the nearest, a second moment at decay 0.999 would change by less than half a code in
    nearly every step and so keep the proportions of its first steps.

    Attributes:
        dtype: int8 for numbers of either sign, uint8 for those >= 0.
        levels: The code of the block's largest magnitude.
        squarings: The power p is 2 to the power of this.
        least: The smallest code of numbers other than zero.
    """

    dtype: torch.dtype
    levels: int
    squarings: int
    least: int

    def encode(self, values: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return codes `[..., n]` of fp32 values `[..., n]`, and the scales of their blocks `[..., ceil(n / 256)]`.

        On average, decoding returns the values, except those whose code is raised to `least`.
        """
        blocks = _blocks(values)
        magnitudes = blocks.abs()
        scales = magnitudes.amax(-1)
        magnitudes.div_(scales.clamp(min=torch.finfo(torch.float32).tiny).unsqueeze(-1))
        codes = self._rounded(magnitudes, generator)
        codes.clamp_(min=self.least).mul_(blocks.sign())
        return codes.to(self.dtype).flatten(-2)[..., : values.shape[-1]], scales

    def decode(self, codes: Tensor, scales: Tensor) -> Tensor:
        """Return the fp32 values of codes `[..., n]` with the scales of their blocks."""
        blocks = _blocks(codes.float())
        values = self._power(blocks.abs()).mul_(blocks.sign()).mul_(scales.unsqueeze(-1))
        return values.flatten(-2)[..., : codes.shape[-1]]

    def _rounded(self, magnitudes: Tensor, generator: torch.Generator) -> Tensor:
        """Round each magnitude in [0, 1] stochastically to the code below or above."""
        roots = magnitudes
        for _ in range(self.squarings):
            roots = roots.sqrt()
        codes = (roots * self.levels).floor_().clamp_(max=self.levels - 1)
        below = self._power(codes)
        chances = (magnitudes - below).div_(self._power(codes + 1).sub_(below))
        draws = torch.rand(chances.shape, generator=generator, device=chances.device)
        return codes.add_(draws < chances)

    def _power(self, codes: Tensor) -> Tensor:
        """Return the share of the scale that codes >= 0 mean."""
        powers = codes / self.levels
        for _ in range(self.squarings):
            powers.square_()
        return powers


def _blocks(values: Tensor) -> Tensor:
    """Return `[..., n]` as `[..., blocks, BLOCK_SIZE]`, with the last block padded by zeros."""
    missing = -values.shape[-1] % BLOCK_SIZE
    whole = pad(values, (0, missing)) if missing else values
    return whole.reshape(*values.shape[:-1], -1, BLOCK_SIZE)


MEAN_CODE = BlockCode(dtype=torch.int8, levels=127, squarings=2, least=0)
"""For the first moment."""
SQUARE_CODE = BlockCode(dtype=torch.uint8, levels=255, squarings=3, least=4)
"""For the second moment. Its smallest root, (4 / 255)^4, is above the smallest mean, 1 / 127^4, so a mean that is only
noise cannot cause a large update."""
