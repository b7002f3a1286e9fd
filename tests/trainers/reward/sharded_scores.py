"""Rewards under FSDP2 in bf16, for `test_distributed`: `torchrun sharded_scores.py CHECKPOINT`."""

import os
import sys

import torch
from sharded_run import LAUNCHED, sharded_accelerator
from torch.distributed.fsdp import MixedPrecisionPolicy

from music.reward.loading import load_checkpoint
from music.reward.packing import TokenSequence, plan_rows
from music.reward.scoring.forward import PackedScorer
from music_trainers import RewardTrainingConfig
from music_trainers.reward import launch
from music_trainers.reward.distributed import gather_weights
from music_trainers.reward.launch import load_once
from music_trainers.reward.optimizer import PairOptimizer


def load():
    loads.append(1)
    classifier = load_checkpoint(sys.argv[1], dtype=torch.float32).classifier
    classifier.register_buffer("marker", torch.tensor([1.0, 2.0]))
    return classifier


def reference_rewards(row):
    """Return the rewards of one process whose backbone is bf16 and whose head is not."""
    classifier = load_checkpoint(sys.argv[1], dtype=torch.float32).classifier
    for weight in classifier.model.parameters():
        weight.data = weight.data.bfloat16()
    return PackedScorer(classifier)(row)


@torch.no_grad()
def main():
    os.environ |= LAUNCHED
    accelerator = sharded_accelerator(cpu=True)
    launch._prepare_sharding(accelerator)
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    accelerator.state.fsdp_plugin.mixed_precision_policy = policy
    classifier = load_once(accelerator, load)
    assert len(loads) == int(accelerator.is_main_process), "the others must not load the base"
    scorer = PairOptimizer(classifier, accelerator, RewardTrainingConfig(base="b", out="o")).scorer
    (row,) = plan_rows(
        [[TokenSequence.read_at_end(list(range(10, 60))), TokenSequence.read_at_end([9, 8, 7])]], 99
    ).rows
    rewards, expected = scorer.eval()(row), reference_rewards(row)
    assert rewards.dtype == torch.float32
    assert torch.allclose(rewards, expected, atol=1e-6), (rewards, expected)
    whole = gather_weights(scorer)
    if accelerator.is_main_process:
        assert all(torch.equal(whole[name], tensor) for name, tensor in load().state_dict().items())


if __name__ == "__main__":
    loads = []
    main()
