"""The back-end that gathers each segment's keys and values. It is for the CPU, and the reference for the others.

It never builds a mask over the row: a dense one costs the square of the row's length, over all of its groups.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from music.reward.attention.table import SegmentTable

__all__ = ["gather_attention"]

_BLOCK = 128
"""Queries at a time with a softcap or a window, so that few unseen scores are computed."""


def gather_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: SegmentTable,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend segment by segment.

    Args:
        module: The attention layer.
        query: `[1, heads, queries, head_dim]`.
        key: `[1, key_heads, keys, head_dim]`; each serves `heads / key_heads` heads in a row.
        value: As `key`.
        segments: The segments of the row.
        scaling: Factor of the scores; by default `head_dim ** -0.5`.
        dropout: Probability that a weight is dropped, in training.
        sliding_window: Logical positions that a query sees, its own included; None for all before it.
        softcap: Bound on the scores, by `tanh`; None for no bound.

    Returns:
        The output, `[1, queries, heads, head_dim]`, and None instead of the weights.
    """
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    has_shared_keys = query.shape[1] != key.shape[1]
    outputs = []
    for q, k, v in _gathered(segments, query, key, value):
        is_windowed = sliding_window is not None and k.shape[2] > sliding_window
        window = sliding_window if is_windowed else None
        for q_block, span in _blocks(q, k.shape[2], window, whole=softcap is None and not is_windowed):
            k_block, v_block = k[:, :, span], v[:, :, span]
            is_causal = softcap is None and not is_windowed and 1 < q.shape[2] == k.shape[2]
            mask = None if is_causal else _mask(segments, q_block, k_block, window)
            if softcap is None:
                attended = nn.functional.scaled_dot_product_attention(
                    q_block, k_block, v_block, mask, dropout, is_causal, scale=scaling, enable_gqa=has_shared_keys
                )
            else:
                attended = _softcapped(q_block, k_block, v_block, mask, scaling, dropout, softcap)
            outputs.append(attended.transpose(1, 2))
    return torch.cat(outputs, dim=1), None


def _gathered(
    segments: SegmentTable, query: Tensor, key: Tensor, value: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield each segment's queries, and the keys and values on its path.

    The row is split once, and the parts are joined. The backward pass then costs as much as the parts are long. With an
    index or a slice for each segment, each would cost as much as the whole row.
    """
    sizes = [segment.num_tokens for segment in segments.both]
    keys, values = torch.split(key, sizes, dim=2), torch.split(value, sizes, dim=2)
    queries = torch.split(query, sizes[len(segments.cached) :], dim=2)
    for segment, q in zip(segments.own, queries, strict=True):
        path = segment.path
        if len(path) == 1:
            yield q, keys[path[0]], values[path[0]]
        else:
            yield q, torch.cat([keys[i] for i in path], dim=2), torch.cat([values[i] for i in path], dim=2)


def _blocks(q: Tensor, num_keys: int, window: int | None, *, whole: bool) -> Iterator[tuple[Tensor, slice]]:
    """Yield blocks of queries, with the span of keys that some query of the block sees."""
    stop = num_keys - q.shape[2]
    for block in (q,) if whole else torch.split(q, _BLOCK, dim=2):
        start = 0 if window is None else max(0, stop - window + 1)
        stop += block.shape[2]
        yield block, slice(start, stop)


def _softcapped(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float, dropout: float, softcap: float
) -> Tensor:
    """Attend with bounded scores, as transformers' eager Gemma-2 does: softmax in fp32.

    The heads that share a key are in one matrix, `[1, key_heads, heads / key_heads * queries, head_dim]`, so that no
    key is copied.
    """
    shared = (1, k.shape[1], -1, k.shape[2])
    scores = ((q * (scaling / softcap)).reshape(1, k.shape[1], -1, q.shape[3]) @ k.transpose(2, 3)).tanh_()
    scores = scores.view(*q.shape[:3], k.shape[2])
    scores = scores * softcap if mask is None else torch.add(mask, scores, alpha=softcap)
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(v.dtype)
    return (nn.functional.dropout(weights, dropout).view(shared) @ v).view(q.shape)


def _mask(segments: SegmentTable, q: Tensor, k: Tensor, window: int | None) -> Tensor | None:
    """Return the additive mask `[queries, keys]` for the last queries of a sequence; None if they see all keys."""
    num_queries, num_keys = q.shape[2], k.shape[2]
    if num_queries == 1:
        return None
    what = ("mask", num_queries, num_keys, window, q.dtype, q.device)
    return segments.once(what, lambda: _additive_mask(num_queries, num_keys, window, q))


def _additive_mask(num_queries: int, num_keys: int, window: int | None, like: Tensor) -> Tensor:
    offset = num_keys - num_queries
    is_seen = like.new_ones(num_queries, num_keys, dtype=torch.bool).tril(offset)
    if window is not None:
        is_seen = is_seen.triu(offset - window + 1)
    return like.new_zeros(num_queries, num_keys).masked_fill(~is_seen, float("-inf"))
