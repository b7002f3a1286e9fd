"""A run under FSDP2 on the CPU, for `test_distributed`: `torchrun sharded_run.py CONFIG PAIRS [STOP]`.

accelerate shards on GPUs only, so its state is set here by hand; all else is the code that runs on GPUs.
"""

import sys
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from music.preferences import read_preferences
from music_trainers import RewardTrainingConfig, reward, train_reward_model
from music_trainers.optimization import PairOptimizer


def start_sharded(config):
    accelerator = Accelerator(cpu=True)
    # In both, as each new view of the state copies the type from the partial one.
    PartialState().distributed_type = accelerator.state.distributed_type = DistributedType.FSDP
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        state_dict_type="FULL_STATE_DICT",
        cpu_ram_efficient_loading=False,
    )
    return accelerator


def require_sharded(optimizer):
    assert optimizer._accelerator.is_fsdp2
    assert all(isinstance(weight, DTensor) for weight in optimizer.scorer.parameters())
    assert all(isinstance(layer, FSDPModule) for layer in optimizer.classifier.model.layers)
    assert torch.distributed.get_world_size() == 2


def main():
    config = RewardTrainingConfig.model_validate_json(Path(sys.argv[1]).read_bytes())
    stop = int(sys.argv[3]) if len(sys.argv) > 3 else None
    step, steps = PairOptimizer.step, []

    def watched_step(self, batch, rate):
        require_sharded(self)
        if len(steps) == stop:
            sys.exit(0)
        steps.append(rate)
        return step(self, batch, rate)

    PairOptimizer.step = watched_step
    reward.start_accelerator = start_sharded
    train_reward_model(config, read_preferences(sys.argv[2]).pairs)


if __name__ == "__main__":
    main()
