"""The back-end on FlexAttention: one kernel for sharing, softcap and sliding window, without gathered copies (GPU).

On the CPU it runs forward only.

The block mask is built from the segments alone. `create_block_mask` would evaluate the mask for every pair of a query
and a key. At 64k tokens this takes 4 GB, and several times that in temporaries, for each window. Here queries and keys
are cut into pieces wherever a block or a segment begins. A piece holds consecutive positions of one segment. So four
comparisons of the ends of two pieces decide whether all, some or none of one see the other.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask
from torch.utils._triton import has_triton

from music.errors import InvalidInputError
from music.reward.attention.table import SegmentTable

__all__ = ["BLOCK", "flex_attention", "make_block_mask", "why_no_flex"]

BLOCK = 128
"""Number of tokens in a block, for queries and for keys."""

_NARROWEST_HEAD = 16
"""Triton does not multiply smaller matrices."""


def why_no_flex(device: torch.device) -> str | None:
    """Return why FlexAttention does not run on a device; None if it does."""
    if device.type == "cuda" and not has_triton():
        return "needs Triton and a GPU that it can compile for (compute capability 7.0): pip install triton"
    return None


def _require_possible(query: Tensor, value: Tensor, dropout: float) -> None:
    """Refuse with a clear message what FlexAttention would refuse, in some cases from within its compiler."""
    if dropout:
        raise InvalidInputError(
            f"attention back-end flex: cannot drop out {dropout:g} of the attention, as the model's config asks: train "
            "without dropout (without --dropout, or with attention_dropout 0 in config.json), or use gather"
        )
    narrowest = min(query.shape[3], value.shape[3])
    if query.device.type == "cuda" and narrowest < _NARROWEST_HEAD:
        raise InvalidInputError(
            f"attention back-end flex: expected heads of {_NARROWEST_HEAD} numbers or more, got {narrowest}: use gather"
        )


def flex_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: SegmentTable,
    *,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend by a block mask; see `gather_attention` for the arguments.

    Raises:
        InvalidInputError: There is dropout, or heads are too narrow for FlexAttention.
    """
    from transformers.integrations.flex_attention import flex_attention_forward

    _require_possible(query, value, dropout)
    num_queries, num_keys, device = query.shape[2], key.shape[2], query.device
    mask = segments.once(
        ("block mask", num_queries, num_keys, sliding_window, device),
        lambda: make_block_mask(segments, num_queries, num_keys, sliding_window, device),
    )
    found: tuple[Tensor, Tensor | None] = flex_attention_forward(module, query, key, value, mask, **kwargs)
    return found


@dataclass(frozen=True, slots=True)
class _Keys:
    """The properties of each key that the mask needs.

    Attributes:
        enters: Number of the key's segment in depth-first order, `[keys]`.
        leaves: Number that follows those of all segments that continue it, `[keys]`.
        positions: Logical positions, `[keys]`.
    """

    enters: Tensor
    leaves: Tensor
    positions: Tensor

    @classmethod
    def of(cls, segments: SegmentTable, num_keys: int) -> "_Keys":
        """Return the properties of a row's keys. Padding after the segments sees itself."""
        both = segments.both
        enters = torch.full((num_keys,), len(both), dtype=torch.int32)
        leaves = enters + 1
        positions = torch.arange(num_keys, dtype=torch.int32)
        num_below = Counter(number for segment in both for number in segment.path)  # itself included
        walk = sorted(range(len(both)), key=lambda number: both[number].path)
        for place, number in enumerate(walk):
            segment = both[number]
            span = slice(segment.start, segment.stop)
            enters[span], leaves[span] = place, place + num_below[number]
            positions[span] = torch.arange(segment.position, segment.num_keys)
        return cls(enters, leaves, positions)

    def to(self, device: torch.device) -> "_Keys":
        """Return them on a device, without waiting for it."""
        return _Keys(*(each.to(device, non_blocking=True) for each in (self.enters, self.leaves, self.positions)))


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Tokens within one block and one segment; `first` and `last` are their ends among the keys."""

    first: Tensor
    last: Tensor
    blocks: Tensor

    @classmethod
    def of(cls, segments: SegmentTable, begin: int, end: int) -> "_Pieces":
        """Cut the keys from `begin` to `end`, where the blocks are counted from `begin`."""
        starts = [each.start for each in segments.both if each.start > begin]
        cuts = [*range(begin, end, BLOCK), *starts, *([segments.num_keys] * (segments.num_keys < end))]
        first = torch.tensor(sorted({*cuts}))
        last = torch.cat([first[1:], torch.tensor([end])]) - 1
        return cls(first, last, (first - begin) // BLOCK)

    @property
    def num_tokens(self) -> Tensor:
        """Number of tokens in each piece."""
        return self.last - self.first + 1


def make_block_mask(
    segments: SegmentTable, num_queries: int, num_keys: int, window: int | None, device: torch.device
) -> BlockMask:
    """Return the block mask of a row.

    Args:
        segments: The segments of the row.
        num_queries: Number of queries, padding included.
        num_keys: Number of keys, padding and cached ones included.
        window: Logical positions that a query sees, its own included; None for all before it.
        device: The device of the mask.
    """
    keys, offset = _Keys.of(segments, num_keys), num_keys - num_queries
    window = num_keys if window is None else window
    some, every = _seen_blocks(segments, keys, offset, window)
    some, every = some.to(device, non_blocking=True), every.to(device, non_blocking=True)
    mask: BlockMask = BlockMask.from_kv_blocks(
        *_ordered(some & ~every),
        *_ordered(every),
        BLOCK_SIZE=BLOCK,
        mask_mod=_mask_mod(keys.to(device), offset, window),
        seq_lengths=(num_queries, num_keys),
    )
    return mask


def _seen_blocks(segments: SegmentTable, keys: _Keys, offset: int, window: int) -> tuple[Tensor, Tensor]:
    """Return, per block of queries and block of keys, whether any query sees any key, and whether all see all.

    A block that the row's end cuts off is never seen in full, as FlexAttention expects.
    """
    num_keys = len(keys.enters)
    queries_cut, keys_cut = _Pieces.of(segments, offset, num_keys), _Pieces.of(segments, 0, num_keys)
    enters = keys.enters[queries_cut.first][:, None]
    is_on_path = (keys.enters[keys_cut.first] <= enters) & (enters < keys.leaves[keys_cut.first])
    nearest = keys.positions[queries_cut.first][:, None] - keys.positions[keys_cut.last]
    farthest = keys.positions[queries_cut.last][:, None] - keys.positions[keys_cut.first]
    some = is_on_path & (farthest >= 0) & (nearest < window)
    every = is_on_path & (nearest >= 0) & (farthest < window)
    num_full = every * (queries_cut.num_tokens[:, None] * keys_cut.num_tokens)
    is_seen, is_full = (_by_block(each, queries_cut.blocks, keys_cut.blocks) for each in (some, num_full))
    return is_seen > 0, is_full == BLOCK * BLOCK


def _by_block(values: Tensor, query_blocks: Tensor, key_blocks: Tensor) -> Tensor:
    """Sum values by piece, `[query pieces, key pieces]`, into `[query blocks, key blocks]`."""
    for blocks in (query_blocks, key_blocks):  # transposed twice, because adding rows is fast
        num_blocks = int(blocks[-1]) + 1
        values = values.new_zeros(num_blocks, values.shape[1], dtype=torch.int32).index_add_(0, blocks, values.int()).T
    return values


def _ordered(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Return the number of blocks that are set in each row, and the indices with theirs first, `[1, 1, ...]`.

    Kernels assume that the indices of a row are contiguous in memory, and do not check it.
    """
    indices = blocks.int().argsort(dim=-1, descending=True, stable=True)
    return blocks.sum(-1, dtype=torch.int32)[None, None], indices.int().contiguous()[None, None]


def _mask_mod(keys: _Keys, offset: int, window: int) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Return whether a query sees a key, as a function: the key is on its path, not after it, and in the window.

    Numbers are tensors, because a kernel is compiled again for each number that it captures: for each window and each
    length of a cache.
    """
    enters, leaves, positions = keys.enters, keys.leaves, keys.positions
    device = enters.device
    begin, width = (torch.full((), number, dtype=torch.int32, device=device) for number in (offset, window))

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        at = query + begin
        is_on_path = (enters[key] <= enters[at]) & (enters[at] < leaves[key])
        distance = positions[at] - positions[key]
        return is_on_path & (distance >= 0) & (distance < width)

    return sees
