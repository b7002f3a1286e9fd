"""The back-end on flash-attn's variable-length kernel, over gathered keys and values (GPU with flash-attn installed).

flash-attn aligns a causal mask to the bottom right, so with the keys of each segment in the order of its path, the
mask, the sliding window and the softcap are exactly those of the whole sequence.
"""

from typing import Any

import torch
from torch import Tensor, nn

from music.reward.attention.table import SegmentTable

__all__ = ["varlen_attention"]


def varlen_attention(
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
    """Attend to gathered keys in one kernel; see `gather_attention` for the arguments."""
    from flash_attn import flash_attn_varlen_func

    device = key.device
    index, cu_queries, cu_keys = segments.once(("layout", device), lambda: _layout(segments, device))
    attended: Tensor = flash_attn_varlen_func(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1)[index],
        value[0].transpose(0, 1)[index],
        cu_queries,
        cu_keys,
        max(stretch.num_queries for stretch in segments.stretches),
        max(stretch.num_keys for stretch in segments.stretches),
        dropout_p=dropout,
        softmax_scale=scaling,
        causal=True,
        window_size=(-1, -1) if sliding_window is None else (sliding_window - 1, 0),
        softcap=softcap or 0.0,
    )
    return attended[None], None


def _layout(segments: SegmentTable, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return the index of the gathered keys, and the cumulated lengths of queries and of keys."""
    cached = segments.num_cached
    spans = []
    for stretch in segments.stretches:
        on_path = [segments.stretches[i] for i in stretch.path]
        spans += [(0, cached), *((cached + each.start, cached + each.stop) for each in on_path)]
    index = torch.cat([torch.arange(start, stop) for start, stop in spans]).to(device)
    queries = _cumulated([stretch.num_queries for stretch in segments.stretches])
    keys = _cumulated([stretch.num_keys for stretch in segments.stretches])
    return index, queries.to(device), keys.to(device)


def _cumulated(lengths: list[int]) -> Tensor:
    return nn.functional.pad(torch.tensor(lengths).cumsum(0), (1, 0)).to(torch.int32)
