"""Several processes: dealing packed rows, and weights as if there were one process.

Each process holds all pairs and plans alike; each computes its share of the rows. All take the same number of forward
passes, since those of sharded models wait for each other.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from accelerate import Accelerator
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from music.reward.packing import PackedRow, RowPlan, TokenSequence, plan_rows

__all__ = ["DealtRow", "deal_rows", "gather_optimizer", "gather_weights", "plan_shared_rows", "scatter_optimizer"]
__all__ += ["scatter_weights", "synchronised"]

_PREFIX = "classifier."


@dataclass(frozen=True, slots=True)
class DealtRow:
    """A row as one process gets it.

    Attributes:
        row: To be computed.
        counts: False for a row that another process computes as well, which only keeps the number of passes equal.
    """

    row: PackedRow
    counts: bool = True


def plan_shared_rows(groups: Sequence[Sequence[TokenSequence]], max_tokens: int, num_processes: int) -> RowPlan:
    """Plan rows whose number can be dealt evenly, if a slightly lower bound on their tokens brings that about."""
    plan = plan_rows(groups, max_tokens)
    num_rows = len(plan.rows)
    wanted = -(-num_rows // num_processes) * num_processes
    if wanted == num_rows:
        return plan
    # Rows that hold this much cannot be one fewer, and leave some room not to come out even.
    other = plan_rows(groups, min(max_tokens, int(plan.num_tokens / (wanted - 0.5))))
    return other if len(other.rows) % num_processes == 0 else plan


def deal_rows(rows: Sequence[PackedRow], num_processes: int, process: int) -> list[DealtRow]:
    """Return the rows of one process: in each round all get one of about the same length."""
    order = sorted(rows, key=lambda row: -row.num_tokens)
    num_rounds = -(-len(order) // num_processes)
    places = [process + num_processes * i for i in range(num_rounds)]
    return [DealtRow(order[place]) if place < len(order) else DealtRow(order[-1], counts=False) for place in places]


def synchronised(accelerator: Accelerator, model: nn.Module, is_last: bool) -> AbstractContextManager[Any]:
    """Return a context in which a backward pass adds up gradients over processes no more often than needed.

    Sharded models do so after every pass: they would have to hold whole gradients in between.
    """
    return nullcontext() if is_last or accelerator.is_fsdp2 else accelerator.no_sync(model)


def gather_weights(scorer: nn.Module) -> dict[str, Any]:
    """Return the classifier's weights, on the CPU: all of them, or the trained ones alone where others are frozen.

    Every process must call it; the main one gets them.
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
    """Return whether some weights are not trained, as those under adapters; such a model is never sharded."""
    return any(not weight.requires_grad for weight in scorer.parameters())


def _trained(scorer: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the trained weights by the names that they have in the classifier."""
    for name, weight in scorer.named_parameters():
        if weight.requires_grad:
            yield name.partition(_PREFIX)[2], weight


def gather_optimizer(accelerator: Accelerator, scorer: nn.Module, optimizer: Any) -> dict[str, Any]:
    """Return the optimizer's whole state; every process must call it, the main one gets it."""
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
