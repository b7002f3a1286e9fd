"""Loading the base in one process: if each loaded it, it would take the host's memory once for each.

The main process loads. The others get all but the content of the weights, which FSDP or DDP sends later on, from device
to device.
"""

import io
import pickle
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import nn

from music.errors import MusicError

__all__ = ["load_once"]

T = TypeVar("T")


def load_once(accelerator: Accelerator, load: Callable[[], T]) -> T:
    """Return what the main process loads; in the others, its weights hold anything.

    Every process must call it.

    Args:
        accelerator: The processes.
        load: Called in the main process alone.

    Raises:
        MusicError: In every process, what `load` raised.
    """
    if accelerator.num_processes == 1:
        return load()
    message: list[bytes | MusicError | None] = [None]
    loaded: T | None = None
    if accelerator.is_main_process:
        try:
            loaded = load()
            message[0] = _without_weights(loaded)
        except MusicError as error:
            message[0] = error
    (got,) = broadcast_object_list(message)
    if isinstance(got, MusicError):
        raise got
    return pickle.loads(got) if loaded is None else loaded


class _WithoutWeights(pickle.Pickler):
    """Pickles modules without the content of their parameters."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, nn.Parameter):
            return _empty, (value.shape, value.dtype, value.requires_grad)
        return NotImplemented


def _without_weights(loaded: Any) -> bytes:
    buffer = io.BytesIO()
    _WithoutWeights(buffer).dump(loaded)
    return buffer.getvalue()


def _empty(shape: torch.Size, dtype: torch.dtype, requires_grad: bool) -> nn.Parameter:
    """Return weights on the CPU that take no memory until something is written to them."""
    return nn.Parameter(torch.empty(shape, dtype=dtype), requires_grad)
