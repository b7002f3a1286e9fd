"""FSDP2 through accelerate, and what accelerate has no setting for: a self-test, and a head of full precision.

The backbone computes in the plugin's type. Rewards are fp32 products of hidden states and the head, so a head that was
gathered in bf16 would give other rewards than one process does, and than the saved model.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from music.reward.scoring.forward import PackedScorer
from music.reward.scoring.self_test import settle_backend

__all__ = ["reshard", "settle_backend_of_shards", "shard"]


def shard(accelerator: Accelerator, scorer: Any, optimizer: Any) -> tuple[nn.Module, Any]:
    """Shard a scorer with the weights of the main process; every process must call it.

    Args:
        accelerator: Of FSDP2.
        scorer: A `PackedScorer` on the CPU.
        optimizer: Of all its trained weights but the head's, which are added.

    Returns:
        Both, as they are trained.
    """
    classifier = scorer.classifier
    head, classifier.score = classifier.score, nn.Identity()
    with _buffers_apart(scorer):
        scorer, optimizer = accelerator.prepare(scorer, optimizer)
    mesh = next(iter(scorer.parameters())).device_mesh
    for weight in head.parameters():
        weight.data = broadcast(weight.data.to(accelerator.device))
    fully_shard(
        head,
        mesh=mesh,
        reshard_after_forward=False,
        mp_policy=MixedPrecisionPolicy(reduce_dtype=torch.float32),
        offload_policy=accelerator.state.fsdp_plugin.cpu_offload,
    )
    classifier.score = head
    # The scorer multiplies by the head's weights without calling it, so no hook of its own would gather them.
    scorer.register_forward_pre_hook(lambda *_: head.unshard())
    optimizer.add_param_group({"params": list(head.parameters())})
    return scorer, optimizer


def settle_backend_of_shards(accelerator: Accelerator, scorer: PackedScorer) -> None:
    """Give a scorer that is to be sharded a back-end that passes the self-test.

    No process will hold the whole model, so the first layers stand for it, with random weights.

    Raises:
        PackedAttentionError: They fail the test.
    """
    with torch.random.fork_rng():
        shallow = _shallow(scorer.classifier).to(accelerator.device).eval()
    with accelerator.autocast():
        stand_in = PackedScorer(shallow, scorer.backend)
        settle_backend(stand_in)
    scorer.use(stand_in.backend)


def _shallow(classifier: Any) -> Any:
    """Return a model of the same class and sizes with as many layers as it takes to have each kind of them."""
    config = deepcopy(classifier.config)
    num_layers = config.num_hidden_layers
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * num_layers
    num = min(num_layers, max(2, *(kinds.index(kind) + 1 for kind in set(kinds))))
    for name, value in vars(config).items():
        if isinstance(value, list) and len(value) == num_layers:  # what is listed layer by layer
            setattr(config, name, value[:num])
    config.num_hidden_layers = num
    return type(classifier)._from_config(config, dtype=classifier.dtype)


def reshard(scorer: nn.Module) -> None:
    """Give up weights that are still whole because no backward pass came: what is loaded into them would be lost."""
    for module in scorer.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


@contextmanager
def _buffers_apart(module: nn.Module) -> Iterator[None]:
    """Keep buffers out of the state dict: accelerate sends all that is in it as shards, which buffers are not."""
    named = [(each, name) for each in module.modules() for name in each._buffers]
    hidden = [(each, name) for each, name in named if name not in each._non_persistent_buffers_set]
    for each, name in hidden:
        each._non_persistent_buffers_set.add(name)
    yield
    for each, name in hidden:
        each._non_persistent_buffers_set.discard(name)
