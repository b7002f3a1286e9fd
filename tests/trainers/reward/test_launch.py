import os
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy

from music.errors import InvalidInputError
from music_trainers import RewardTrainingConfig
from music_trainers.reward import launch
from music_trainers.reward.launch import start_accelerator


@pytest.fixture
def launched(monkeypatch):
    """Return a function that starts accelerate as if it had been launched with a plugin on GPUs."""
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "true")
    monkeypatch.setattr(launch, "resolve_device", torch.device)

    def start(kind, fsdp_version=None, **changes):
        plugin = SimpleNamespace(cpu_ram_efficient_loading=True, auto_wrap_policy=None, mixed_precision_policy="bf16")

        def accelerator(**settings):
            state = SimpleNamespace(fsdp_plugin=plugin)
            return SimpleNamespace(distributed_type=kind, is_fsdp2=fsdp_version == 2, state=state, **settings)

        monkeypatch.setattr(launch, "Accelerator", accelerator)
        return start_accelerator(RewardTrainingConfig(base="base", out="out", device="cuda", **changes))

    return start


@pytest.mark.parametrize(
    ("kind", "version", "name"),
    [(DistributedType.FSDP, 1, "FSDP version 1"), (DistributedType.DEEPSPEED, None, "DEEPSPEED")],
)
def test_another_way_to_shard_is_refused_before_it_trains_wrongly(launched, kind, version, name):
    with pytest.raises(InvalidInputError, match=f"got {name}: .*--fsdp_version 2"):
        launched(kind, version)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lora_rank": 4}, "not merged from shards"),
        ({"states": "split_master"}, "--checkpoint-every 0"),
    ],
)
def test_what_does_not_go_together_with_shards_is_refused(launched, change, message):
    with pytest.raises(InvalidInputError, match=message):
        launched(DistributedType.FSDP, 2, **change)
    launched(DistributedType.MULTI_GPU, **change)


def test_shards_keep_rewards_and_sums_of_gradients_in_fp32_and_get_the_weights_of_one_process(launched):
    plugin = launched(DistributedType.FSDP, 2).state.fsdp_plugin
    policy = plugin.mixed_precision_policy
    assert (policy.param_dtype, policy.reduce_dtype, policy.output_dtype) == (torch.bfloat16, torch.float32, None)
    assert plugin.auto_wrap_policy is transformer_auto_wrap_policy
    assert plugin.cpu_ram_efficient_loading
    assert os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] == "False", "transformers would leave weights out by itself"


def test_only_fp32_weights_are_computed_with_in_another_type(launched):
    settings = {"checkpoint_every": 0}
    assert launched(DistributedType.FSDP, 2, **settings).mixed_precision == "bf16"
    assert launched(DistributedType.FSDP, 2, states="split_master", **settings).mixed_precision == "no"
