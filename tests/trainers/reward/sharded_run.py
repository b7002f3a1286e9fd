"""A run under FSDP2 on the CPU, stopped and resumed, for `test_distributed`: `torchrun sharded_run.py CONFIG PAIRS`.

accelerate shards on GPUs only, so its state is set here by hand, with the settings that `accelerate launch --use_fsdp
--fsdp_version 2` would give; all else is the code that runs on GPUs.
"""

import os
import sys
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from music.preferences import read_preferences
from music_trainers import RewardTrainingConfig, train_reward_model
from music_trainers.reward import launch
from music_trainers.reward.optimizer import PairOptimizer

LAUNCHED = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}
STOP = 5


class StopError(Exception):
    """Ends a run from outside, as a crash would."""


def sharded_accelerator(**settings):
    accelerator = Accelerator(**settings)
    # In both, as each new view of the state copies the type from the partial one.
    PartialState().distributed_type = accelerator.state.distributed_type = DistributedType.FSDP
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
    return accelerator


def require_sharded(optimizer):
    assert optimizer._accelerator.is_fsdp2
    assert all(isinstance(weight, DTensor) for weight in optimizer.scorer.parameters())
    assert all(isinstance(layer, FSDPModule) for layer in optimizer.classifier.model.layers)
    assert torch.distributed.get_world_size() == 2


def main():
    os.environ |= LAUNCHED
    launch.Accelerator = sharded_accelerator
    config = RewardTrainingConfig.model_validate_json(Path(sys.argv[1]).read_bytes())
    pairs = read_preferences(sys.argv[2]).pairs
    step, steps = PairOptimizer.step, []

    def watched_step(self, batch, rate):
        require_sharded(self)
        steps.append(rate)
        if len(steps) == STOP + 1:
            raise StopError
        return step(self, batch, rate)

    PairOptimizer.step = watched_step
    try:
        train_reward_model(config, pairs)
    except StopError:
        PartialState().wait_for_everyone()
        assert (config.out / "checkpoints").exists()
        train_reward_model(config.model_copy(update={"resume": True}), pairs)
        assert steps[STOP + 1 :] == steps[config.checkpoint_every : STOP + 1], "it began anew"


if __name__ == "__main__":
    main()
