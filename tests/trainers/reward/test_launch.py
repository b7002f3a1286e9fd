import os
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy

from music.errors import InvalidInputError
from music.reward.loading import load_checkpoint
from music_trainers import RewardTrainingConfig
from music_trainers.reward import launch
from music_trainers.reward.launch import load_once, start_accelerator


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
        ({"lora_rank": 4}, "cannot be merged from shards"),
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


@pytest.fixture
def sent(monkeypatch):
    """Return what the main process sends, which the others then get."""
    messages = []

    def broadcast(message):
        if message != [None]:
            messages[:] = message
        return list(messages)

    monkeypatch.setattr(launch, "broadcast_object_list", broadcast)
    return messages


def process(index, num_processes=2):
    return SimpleNamespace(num_processes=num_processes, is_main_process=index == 0)


def never():
    raise AssertionError("only the main process loads")


def test_other_processes_get_all_but_the_weights(sent, reward_checkpoint):
    base = reward_checkpoint("gemma2")
    first = load_once(process(0), lambda: load_checkpoint(base, dtype=torch.float32))
    second = load_once(process(1), never)
    num_bytes = sum(weight.numel() * weight.element_size() for weight in first.classifier.parameters())
    buffers = first.classifier.state_dict()
    assert second.tokens.contract == first.tokens.contract
    assert second.classifier.config.to_dict() == first.classifier.config.to_dict()
    shapes = [(name, weight.shape, weight.dtype) for name, weight in first.classifier.named_parameters()]
    assert [(name, weight.shape, weight.dtype) for name, weight in second.classifier.named_parameters()] == shapes
    theirs = dict(second.classifier.named_buffers())
    assert all(torch.equal(buffer, theirs[name]) for name, buffer in first.classifier.named_buffers())
    second.classifier.load_state_dict(buffers)
    ids = torch.arange(5, 25)[None]
    assert torch.equal(first.classifier(ids).logits, second.classifier(ids).logits)
    grown = load_checkpoint(base, dtype=torch.float32)
    grown.classifier.model.embed_tokens.weight = torch.nn.Parameter(torch.zeros(100_000, 32))
    size = len(sent[0])
    load_once(process(0), lambda: grown)
    assert len(sent[0]) < size + 1000, f"weights ({num_bytes} bytes) were sent"


def test_every_process_raises_what_the_main_one_met(sent):
    def fail():
        raise InvalidInputError("no such base")

    for index, load in ((0, fail), (1, never)):
        with pytest.raises(InvalidInputError, match="no such base"):
            load_once(process(index), load)


def test_a_single_process_just_loads():
    assert load_once(process(0, num_processes=1), lambda: 3) == 3
