"""The states of cached tokens by slot: the keys and values of every layer, and the reward.

`music.reward.packing.prefix_cache` records which token is in which slot.
"""

from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel

__all__ = ["CachedPast", "ModelMemory", "StatePool", "affordable_tokens"]

_CPU_BYTES = 1 << 30
_CUDA_SHARE = 0.25
_GROWTH = 4
_HIDDEN_COPIES = 8
"""Tensors of the size of hidden states that live at once: residual stream, norm, queries, keys, values, outputs."""
_INNER_COPIES = 3
"""Tensors of the size of an MLP's inner states that live at once: gate, up and their product."""


@dataclass(frozen=True, slots=True)
class ModelMemory:
    """The memory that scoring with a model takes, in bytes.

    Attributes:
        weights: The weights.
        cache: The prefix cache if it is full.
        row: About what a forward pass of one row takes beyond that: the activations of one layer.
    """

    weights: int
    cache: int
    row: int

    @classmethod
    def of(cls, classifier: PreTrainedModel, num_cached: int, num_row: int) -> "ModelMemory":
        """Return the memory of a model whose cache holds so many tokens and whose rows have so many."""
        config = classifier.config.get_text_config()
        numbers = _HIDDEN_COPIES * config.hidden_size + _INNER_COPIES * config.intermediate_size
        return cls(
            sum(each.nbytes for each in (*classifier.parameters(), *classifier.buffers())),
            num_cached * _bytes_per_token(classifier),
            num_row * numbers * classifier.dtype.itemsize,
        )


def affordable_tokens(classifier: PreTrainedModel) -> int:
    """Return how many tokens a cache may hold by default.

    These are as many as fit into 1 GiB, or on CUDA into a quarter of the memory that is free now, for this process. A
    token's keys and values take `2 * layers * key heads * head size` numbers. For Gemma-2-9B in bf16 these are 344 KB,
    so a quarter of 40 GiB holds 31k tokens. For 4 layers and 3 key heads of 64 in fp32 they are 6 KB, so 1 GiB holds
    175k tokens.
    """
    device = classifier.device
    if device.type != "cuda":
        return _CPU_BYTES // _bytes_per_token(classifier)
    free, total = torch.cuda.mem_get_info(device)
    own = torch.cuda.get_per_process_memory_fraction(device) * total - torch.cuda.memory_reserved(device)
    return int(_CUDA_SHARE * max(0.0, min(free, own)) / _bytes_per_token(classifier))


def _bytes_per_token(classifier: PreTrainedModel) -> int:
    config = classifier.config.get_text_config()
    num_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * num_heads * size * classifier.dtype.itemsize)


class StatePool:
    """States of tokens by slot. It grows as slots are used, each time by a large factor, because growing copies."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Drop all states and free their memory."""
        self._num_slots = 0
        self._layers: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self._rewards = torch.empty(0)

    def make_room(self, num_slots: int, limit: int) -> None:
        """Provide at least this many slots, and never more than `limit`."""
        if num_slots > self._num_slots:
            self._num_slots = min(limit, max(num_slots, _GROWTH * self._num_slots))
            self._rewards = _enlarged(self._rewards, 0, self._num_slots)

    def layer(self, index: int, call: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return a layer's keys and values by slot, `[key_heads, slots, head_dim]`.

        Args:
            index: The layer's index.
            call: How often the layer has attended before in the same forward pass; some attend twice.
            key: Keys of the row, `[1, key_heads, tokens, head_dim]`, which define shape, dtype and device.
            value: Values of the row, of the same shape.
        """
        keys, values = self._layers.get((index, call), (key[0, :, :0], value[0, :, :0]))
        if keys.shape[1] < self._num_slots:
            keys, values = _enlarged(keys, 1, self._num_slots), _enlarged(values, 1, self._num_slots)
            self._layers[index, call] = keys, values
        return keys, values

    def rewards(self, slots: Tensor) -> Tensor:
        """Return the rewards of the tokens in these slots."""
        return self._rewards[slots]

    def keep_rewards(self, slots: Tensor, rewards: Tensor) -> None:
        """Store the rewards of tokens, one for each slot."""
        self._rewards[slots] = rewards


def _enlarged(states: Tensor, dim: int, num_slots: int) -> Tensor:
    """Return states with more slots."""
    shape = list(states.shape)
    shape[dim] = num_slots
    grown = states.new_empty(shape)
    grown.narrow(dim, 0, states.shape[dim]).copy_(states)
    return grown


@dataclass(frozen=True, slots=True)
class CachedPast:
    """The cached tokens that a row continues, and the row's tokens to keep, for one forward pass.

    Attributes:
        pool: The states.
        seen: Slots of the cached tokens, in the order of the table's keys.
        places: Indices of the row's tokens to keep.
        slots: The slots for these.
        calls: How often each layer has attended.
    """

    pool: StatePool
    seen: Tensor
    places: Tensor
    slots: Tensor
    calls: Counter[int] = field(default_factory=Counter)

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys and values of cached and own tokens, and store those of the own tokens to keep."""
        keys, values = self.pool.layer(layer, self.calls[layer], key, value)
        self.calls[layer] += 1
        return self._extended(keys, key), self._extended(values, value)

    def _extended(self, cached: Tensor, own: Tensor) -> Tensor:
        if len(self.slots):
            cached.index_copy_(1, self.slots, own[0].index_select(1, self.places))
        return torch.cat([cached.index_select(1, self.seen)[None], own], 2) if len(self.seen) else own
