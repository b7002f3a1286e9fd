"""How a run starts in one or several processes: the `Accelerator`, a locked folder, and a base that is loaded once.

Results do not depend on the launcher: device, precision and FSDP are set here.
"""

import io
import pickle
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, broadcast_object_list
from accelerate.utils.fsdp_utils import disable_fsdp_ram_efficient_loading
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy

from music.errors import InvalidInputError, MusicError
from music.files import locked_folder
from music.reward.scoring.device import resolve_device
from music_trainers.precision import StatesPolicy
from music_trainers.reward.config import RewardTrainingConfig

__all__ = ["load_once", "locked_output", "start_accelerator"]


T = TypeVar("T")
PLAIN_TYPES = {DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU}


def start_accelerator(config: RewardTrainingConfig) -> Accelerator:
    """Return the `Accelerator` of a run: its device, precision, processes and tracker.

    Raises:
        InvalidInputError: The device or the tracker is missing, or the launch does not support the settings.
    """
    on_cpu = resolve_device(None if config.device == "auto" else config.device).type == "cpu"
    if config.tracker is not None and find_spec(config.tracker) is None:
        raise InvalidInputError(
            f"tracker {config.tracker} is not installed: pip install {config.tracker}, or leave --tracker out"
        )
    # Weights in bf16 need no autocast; with it, FSDP would turn them into fp32.
    computes_apart = not on_cpu and config.states is StatesPolicy.FP32
    accelerator = Accelerator(
        cpu=on_cpu,
        mixed_precision="bf16" if computes_apart else "no",
        log_with=config.tracker,
        project_dir=str(config.out),
    )
    _require_support(accelerator, config)
    if accelerator.is_fsdp2:
        _prepare_sharding(accelerator)
    return accelerator


def _require_support(accelerator: Accelerator, config: RewardTrainingConfig) -> None:
    """Refuse a launch that would train wrongly, or fail only after much work."""
    kind = accelerator.distributed_type
    if not (kind in PLAIN_TYPES or accelerator.is_fsdp2):
        got = "FSDP version 1" if kind is DistributedType.FSDP else kind.value
        raise InvalidInputError(
            f"expected one process, data-parallel processes or FSDP 2, got {got}: to shard a model, use "
            "accelerate launch --use_fsdp --fsdp_version 2"
        )
    if accelerator.is_fsdp2 and config.lora_rank:
        raise InvalidInputError(
            "adapters cannot be merged from shards: train them without FSDP, or leave --lora-rank out"
        )
    if accelerator.is_fsdp2 and config.checkpoint_every and config.states is not StatesPolicy.FP32:
        raise InvalidInputError(
            f"checkpoints of sharded optimizer states are written in fp32 only, got {config.states}: use "
            "--states fp32, or do without (--checkpoint-every 0)"
        )


def _prepare_sharding(accelerator: Accelerator) -> None:
    """Replace accelerate's defaults for FSDP that would be slow or change results."""
    plugin = accelerator.state.fsdp_plugin
    # By default layers are not sharded one by one, so all would be gathered at once.
    plugin.auto_wrap_policy = plugin.auto_wrap_policy or transformer_auto_wrap_policy
    # The main process loads the base (see `load_once`) and accelerate sends its weights. transformers has its own way
    # to do that, which is switched off here.
    plugin.cpu_ram_efficient_loading = True
    disable_fsdp_ram_efficient_loading()
    if accelerator.mixed_precision == "bf16":
        # By default rewards and the sums of gradients would be rounded to bf16 too.
        plugin.mixed_precision_policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)


def load_once(accelerator: Accelerator, load: Callable[[], T]) -> T:
    """Return what the main process loads; in the other processes the values of the weights are undefined.

    If each process loaded the base, the host would hold one copy per process. FSDP or DDP sends the weights later, from
    device to device. Every process must call it.

    Args:
        accelerator: The processes.
        load: Called in the main process only.

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
            buffer = io.BytesIO()
            _WithoutWeights(buffer).dump(loaded)
            message[0] = buffer.getvalue()
        except MusicError as error:
            message[0] = error
    (got,) = broadcast_object_list(message)
    if isinstance(got, MusicError):
        raise got
    return pickle.loads(got) if loaded is None else loaded


@contextmanager
def locked_output(accelerator: Accelerator, config: RewardTrainingConfig) -> Iterator[None]:
    """Keep other runs out of the output folder within the block; every process must enter it.

    Raises:
        InvalidInputError: In every process: another run is in the folder, or has finished there meanwhile.
    """
    with ExitStack() as stack:

        def lock() -> None:
            stack.enter_context(locked_folder(config.out))
            config.require_unfinished()

        load_once(accelerator, lock)
        yield


class _WithoutWeights(pickle.Pickler):
    """Pickles modules without the values of their parameters."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, nn.Parameter):
            return _empty, (value.shape, value.dtype, value.requires_grad)
        return NotImplemented


def _empty(shape: torch.Size, dtype: torch.dtype, requires_grad: bool) -> nn.Parameter:
    """Return weights on the CPU that take no memory until they are written to."""
    return nn.Parameter(torch.empty(shape, dtype=dtype), requires_grad)
