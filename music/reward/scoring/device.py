"""The device on which a reward model computes, and whether this process can use it."""

import os
from functools import cache

import torch

from music.errors import InvalidInputError

__all__ = ["ensure_usable", "resolve_device"]

_PROCESS = os.getpid()
"""The process that imported this module; a fork of it has another id."""


def resolve_device(name: str | None = None) -> torch.device:
    """Return the device of this name; by default CUDA where there is one, else the CPU.

    Raises:
        InvalidInputError: There is no such device here, or this process cannot use it.
    """
    # A forked child sees no CUDA. To compute on the CPU instead would be slow without a warning, so it gets an error.
    is_out_of_reach = torch.cuda._is_in_bad_fork() and torch.cuda.device_count() > 0
    fastest = "cuda" if is_out_of_reach or torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name or fastest)
    except RuntimeError as error:
        raise InvalidInputError(f"expected a device such as cpu or cuda, got {name!r}") from error
    ensure_usable(device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InvalidInputError(f"device {name!r} was asked for, but torch finds no CUDA device here")
    return device


def ensure_usable(device: torch.device) -> None:
    """Make sure that this process can compute on a device, even if it was forked.

    CUDA does not work in a process that was forked after its parent initialised CUDA. On the CPU, PyTorch would wait
    forever for threads of the parent, so a forked process computes on one thread, as PyTorch's data loaders do.

    Raises:
        InvalidInputError: The device is CUDA, and the parent initialised it before the fork.
    """
    if device.type == "cpu":
        _limit_threads(os.getpid())
    if device.type == "cuda" and torch.cuda._is_in_bad_fork():
        raise InvalidInputError(
            "CUDA cannot be used here: this process was forked after its parent had initialised CUDA. Start processes "
            "with 'spawn' (multiprocessing.get_context('spawn')), or fork before CUDA is first used and load the "
            "model in the child"
        )


@cache  # once, so that a number of threads that is set later stays
def _limit_threads(pid: int) -> None:
    if pid != _PROCESS:
        torch.set_num_threads(1)
