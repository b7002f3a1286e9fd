"""The state of a parameter between steps: named tensors, read as fp32 and written back, some rows at a time.

The tensors of a sharded parameter are DTensors that are sharded by rows too, so sharded checkpoints can save and load
them with any number of processes.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from music_trainers.precision.policy import BLOCK_SIZE, StatesPolicy
from music_trainers.precision.rounding import (
    MEAN_CODE,
    SQUARE_CODE,
    BlockCode,
    join_master,
    round_stochastically,
    split_master,
)

__all__ = ["State", "Stored", "local", "new_state", "stored_mean", "stored_square", "stored_weights"]

State = dict[str, Tensor]
"""`step` (a count, on the CPU), `exp_avg` and `exp_avg_sq`, each with a `_scale` if in 8 bits, and `remainder` if the
weights are split."""


class Stored(Protocol):
    """fp32 numbers in a smaller format."""

    def read(self, rows: slice) -> Tensor:
        """Return rows in fp32; the caller changes them in place."""

    def write(self, rows: slice, values: Tensor, generator: torch.Generator) -> None:
        """Store the rows that `read` returned, after they were changed."""


@dataclass(frozen=True, slots=True)
class _Exact:
    values: Tensor

    def read(self, rows: slice) -> Tensor:
        return self.values[rows]

    def write(self, rows: slice, values: Tensor, generator: torch.Generator) -> None:
        """Do nothing: `read` returns the stored tensor itself."""


@dataclass(frozen=True, slots=True)
class _Rounded:
    values: Tensor

    def read(self, rows: slice) -> Tensor:
        return self.values[rows].float()

    def write(self, rows: slice, values: Tensor, generator: torch.Generator) -> None:
        self.values[rows] = round_stochastically(values, generator)


@dataclass(frozen=True, slots=True)
class _Split:
    values: Tensor
    remainder: Tensor

    def read(self, rows: slice) -> Tensor:
        return join_master(self.values[rows], self.remainder[rows])

    def write(self, rows: slice, values: Tensor, generator: torch.Generator) -> None:
        self.values[rows], self.remainder[rows] = split_master(values)


@dataclass(frozen=True, slots=True)
class _Quantised:
    codes: Tensor
    scales: Tensor
    code: BlockCode

    def read(self, rows: slice) -> Tensor:
        return self.code.decode(self.codes[rows], self.scales[rows])

    def write(self, rows: slice, values: Tensor, generator: torch.Generator) -> None:
        self.codes[rows], self.scales[rows] = self.code.encode(values, generator)


def new_state(parameter: Tensor, policy: StatesPolicy) -> State:
    """Return the state of a parameter before its first step.

    fp32 parameters in a bf16 model, such as a reward head, keep fp32 moments.
    """
    dtype = parameter.dtype
    state = {"step": torch.tensor(0.0)}
    if policy is StatesPolicy.BF16_STOCHASTIC_8BIT and dtype == torch.bfloat16 and _has_whole_rows(parameter):
        blocks = parameter.narrow(-1, 0, -(-parameter.shape[-1] // BLOCK_SIZE))
        for name, code in (("exp_avg", MEAN_CODE), ("exp_avg_sq", SQUARE_CODE)):
            state[name] = _zeros(parameter, code.dtype)
            state[f"{name}_scale"] = _zeros(blocks, torch.float32)
    else:
        state |= {"exp_avg": _zeros(parameter, dtype), "exp_avg_sq": _zeros(parameter, dtype)}
    if policy is StatesPolicy.SPLIT_MASTER and dtype == torch.bfloat16:
        # As pairs of bytes: NCCL and gloo, which gather a full state dict, do not support int16.
        state["remainder"] = _zeros(parameter.unsqueeze(-1).expand(*parameter.shape, 2), torch.uint8)
    return state


def stored_weights(parameter: Tensor, state: State) -> Stored:
    """Return the parameter's own weights, with their remainder if they have one."""
    if "remainder" in state:
        return _Split(local(parameter), local(state["remainder"]).view(torch.int16).view(local(parameter).shape))
    return _plain(parameter)


def stored_mean(state: State) -> Stored:
    """Return the first moment."""
    return _moment(state, "exp_avg", MEAN_CODE)


def stored_square(state: State) -> Stored:
    """Return the second moment."""
    return _moment(state, "exp_avg_sq", SQUARE_CODE)


def local(tensor: Tensor) -> Tensor:
    """Return this process's part of a tensor, with shared storage and at least one dimension."""
    part = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return part if part.ndim else part.view(1)


def _moment(state: State, name: str, code: BlockCode) -> Stored:
    if f"{name}_scale" in state:
        return _Quantised(local(state[name]), local(state[f"{name}_scale"]), code)
    return _plain(state[name])


def _plain(tensor: Tensor) -> Stored:
    return _Exact(local(tensor)) if tensor.dtype == torch.float32 else _Rounded(local(tensor))


def _has_whole_rows(parameter: Tensor) -> bool:
    """Return whether this process holds whole rows: not for vectors, nor if the last dimension is sharded."""
    last = parameter.ndim - 1
    sharded = isinstance(parameter, DTensor) and any(p.is_shard(last) for p in parameter.placements)
    return parameter.ndim > 1 and not sharded


def _zeros(like: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros_like(like, dtype=dtype, memory_format=torch.contiguous_format)
