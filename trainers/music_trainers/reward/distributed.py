"""Training in several processes: rows divided among them, FSDP2 shards, and whole weights gathered from shards.

Each process holds all pairs and makes the same plan; each computes its share of the rows. All make the same number of
forward passes, because the passes of sharded models wait for each other.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from music.reward.packing import PackedRow, RowPlan, TokenSequence, plan_rows
from music.reward.scoring.forward import PackedScorer
from music.reward.scoring.self_test import settle_backend

__all__ = ["AssignedRow", "assign_rows", "gather_optimizer", "gather_weights", "plan_even_rows", "reshard"]
__all__ += ["scatter_optimizer", "scatter_weights", "settle_backend_of_shards", "shard", "synchronised"]


_PREFIX = "classifier."


@dataclass(frozen=True, slots=True)
class AssignedRow:
    """A row that one process computes.

    Attributes:
        row: The row.
        counts: False for a row that another process computes too; it only keeps the number of passes equal.
    """

    row: PackedRow
    counts: bool = True


def plan_even_rows(groups: Sequence[Sequence[TokenSequence]], max_tokens: int, num_processes: int) -> RowPlan:
    """Plan a number of rows that the processes divide evenly, if a slightly lower bound on their tokens gives one."""
    plan = plan_rows(groups, max_tokens)
    num_rows = len(plan.rows)
    wanted = -(-num_rows // num_processes) * num_processes
    if wanted == num_rows:
        return plan
    # This bound needs at least the wanted number of rows, with some room as rows are not exactly full.
    other = plan_rows(groups, min(max_tokens, int(plan.num_tokens / (wanted - 0.5))))
    return other if len(other.rows) % num_processes == 0 else plan


def assign_rows(rows: Sequence[PackedRow], num_processes: int, process: int) -> list[AssignedRow]:
    """Return the rows of one process; in each round all processes get rows of about the same length."""
    order = sorted(rows, key=lambda row: -row.num_tokens)
    num_rounds = -(-len(order) // num_processes)
    places = [process + num_processes * i for i in range(num_rounds)]
    return [AssignedRow(order[i]) if i < len(order) else AssignedRow(order[-1], counts=False) for i in places]


def synchronised(accelerator: Accelerator, model: nn.Module, is_last: bool) -> AbstractContextManager[Any]:
    """Return a context in which backward passes reduce gradients across processes only after the last one.

    Sharded models reduce after every pass: otherwise they would have to hold whole gradients.
    """
    return nullcontext() if is_last or accelerator.is_fsdp2 else accelerator.no_sync(model)


def gather_weights(scorer: nn.Module) -> dict[str, Any]:
    """Return the classifier's weights on the CPU: all, or only the trained ones if others are frozen.

    Every process must call it; the main process gets the weights.
    """
    if _has_frozen_weights(scorer):
        return {name: weight.detach().cpu() for name, weight in _trained(scorer)}
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = get_model_state_dict(scorer, options=options)
    return {name.removeprefix(_PREFIX): value for name, value in weights.items()}


def scatter_weights(scorer: nn.Module, weights: dict[str, Any]) -> None:
    """Put gathered weights back; every process must call it, with the same weights."""
    if _has_frozen_weights(scorer):
        for name, weight in _trained(scorer):
            weight.data.copy_(weights[name])
        return
    named = {_PREFIX + name: value for name, value in weights.items()}
    set_model_state_dict(scorer, named, options=StateDictOptions(full_state_dict=True))


def _has_frozen_weights(scorer: nn.Module) -> bool:
    """Return whether some weights are frozen, as those below adapters are; such a model is never sharded."""
    return any(not weight.requires_grad for weight in scorer.parameters())


def _trained(scorer: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the trained weights with their names in the classifier."""
    for name, weight in scorer.named_parameters():
        if weight.requires_grad:
            yield name.partition(_PREFIX)[2], weight


def gather_optimizer(accelerator: Accelerator, scorer: nn.Module, optimizer: Any) -> dict[str, Any]:
    """Return the optimizer's whole state; every process must call it, the main process gets it."""
    if not accelerator.is_fsdp2:
        state: dict[str, Any] = optimizer.state_dict()
        return state
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return get_optimizer_state_dict(scorer, optimizer.optimizer, options=options)


def scatter_optimizer(accelerator: Accelerator, scorer: nn.Module, optimizer: Any, state: dict[str, Any]) -> None:
    """Put a whole state back; every process must call it, with the same state."""
    if not accelerator.is_fsdp2:
        optimizer.load_state_dict(state)
    else:
        options = StateDictOptions(full_state_dict=True)
        set_optimizer_state_dict(scorer, optimizer.optimizer, state, options=options)


def shard(accelerator: Accelerator, scorer: Any, optimizer: Any) -> tuple[nn.Module, Any]:
    """Shard a scorer with the weights of the main process through FSDP2; every process must call it.

    The backbone computes in the plugin's type. Rewards are fp32 products of hidden states and the head. A head gathered
    in bf16 would give other rewards than a single process or the saved model, so the head is sharded separately.
    accelerate has no setting for this.

    Args:
        accelerator: An accelerator with FSDP2.
        scorer: A `PackedScorer` on the CPU.
        optimizer: The optimizer of all its trained weights except the head's, which are added here.

    Returns:
        The sharded scorer and its optimizer.
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
    """Choose a back-end that passes the self-test, before a scorer is sharded.

    No process will hold the whole model, so the test runs on its first layers, with random weights.

    Raises:
        PackedAttentionError: Every back-end fails the test.
    """
    with torch.random.fork_rng():
        shallow = _shallow(scorer.classifier).to(accelerator.device).eval()
    with accelerator.autocast():
        stand_in = PackedScorer(shallow, scorer.backend)
        settle_backend(stand_in)
    scorer.use(stand_in.backend)


def _shallow(classifier: Any) -> Any:
    """Return a model of the same class and sizes with just enough layers to have each kind of layer."""
    config = deepcopy(classifier.config)
    num_layers = config.num_hidden_layers
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * num_layers
    num = min(num_layers, max(2, *(kinds.index(kind) + 1 for kind in set(kinds))))
    for name, value in vars(config).items():
        if isinstance(value, list) and len(value) == num_layers:  # a list with one value per layer
            setattr(config, name, value[:num])
    config.num_hidden_layers = num
    return type(classifier)._from_config(config, dtype=classifier.dtype)


def reshard(scorer: nn.Module) -> None:
    """Free weights that are still whole because no backward pass followed: loading into them would be lost."""
    for module in scorer.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


@contextmanager
def _buffers_apart(module: nn.Module) -> Iterator[None]:
    """Keep buffers out of the state dict: accelerate sends everything in it as shards, and buffers are not sharded."""
    named = [(each, name) for each in module.modules() for name in each._buffers]
    hidden = [(each, name) for each, name in named if name not in each._non_persistent_buffers_set]
    for each, name in hidden:
        each._non_persistent_buffers_set.add(name)
    yield
    for each, name in hidden:
        each._non_persistent_buffers_set.discard(name)
