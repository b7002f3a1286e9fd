"""accelerate's view of device, precision, processes and tracker, set so that results do not depend on the launcher."""

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from accelerate.utils.fsdp_utils import disable_fsdp_ram_efficient_loading
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy

from music.errors import InvalidInputError
from music.reward.scoring.device import resolve_device
from music_trainers.precision import StatesPolicy
from music_trainers.reward.config import RewardTrainingConfig
from music_trainers.reward.tracking import require_tracker

__all__ = ["start_accelerator"]

PLAIN_TYPES = {DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU}


def start_accelerator(config: RewardTrainingConfig) -> Accelerator:
    """Return accelerate's view of device, precision, processes and tracker.

    Raises:
        InvalidInputError: The device or the tracker is not there, or settings do not go together with the launch.
    """
    on_cpu = resolve_device(None if config.device == "auto" else config.device).type == "cpu"
    require_tracker(config.tracker)
    # Weights in bf16 need no autocast, and with it FSDP would make fp32 ones of them.
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
    """Refuse a launch that would train wrongly, or fail only when there is something to lose."""
    kind = accelerator.distributed_type
    if not (kind in PLAIN_TYPES or accelerator.is_fsdp2):
        got = "FSDP version 1" if kind is DistributedType.FSDP else kind.value
        raise InvalidInputError(
            f"expected one process, data-parallel ones or FSDP 2, got {got}: for a model that is to be sharded use "
            "accelerate launch --use_fsdp --fsdp_version 2"
        )
    if accelerator.is_fsdp2 and config.lora_rank:
        raise InvalidInputError(
            "adapters are not merged from shards: train them without FSDP, or leave --lora-rank out"
        )
    if accelerator.is_fsdp2 and config.checkpoint_every and config.states is not StatesPolicy.FP32:
        raise InvalidInputError(
            f"checkpoints of sharded optimizer states are written in fp32 only, got {config.states}: use "
            "--states fp32, or do without (--checkpoint-every 0)"
        )


def _prepare_sharding(accelerator: Accelerator) -> None:
    """Mend what accelerate's defaults for FSDP would spoil."""
    plugin = accelerator.state.fsdp_plugin
    # By default no layer is sharded by itself, so that all are gathered at once.
    plugin.auto_wrap_policy = plugin.auto_wrap_policy or transformer_auto_wrap_policy
    # The main process loads the base (see `load_once`) and accelerate sends its weights; without the variable,
    # transformers loads what it is told to.
    plugin.cpu_ram_efficient_loading = True
    disable_fsdp_ram_efficient_loading()
    if accelerator.mixed_precision == "bf16":
        # By default rewards and the sums of gradients would be rounded to bf16 too.
        plugin.mixed_precision_policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
