"""The back-end on FlexAttention: one kernel for sharing, softcap and sliding window, without gathered copies (GPU).

On the CPU it runs forward only.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._triton import has_triton

from music.errors import InvalidInputError
from music.reward.attention.block_mask import BLOCK, make_block_mask
from music.reward.attention.table import SegmentTable

__all__ = ["BLOCK", "flex_attention", "why_no_flex"]

_NARROWEST_HEAD = 16
"""Triton multiplies no smaller matrices."""


def why_no_flex(device: torch.device) -> str | None:
    """Return why FlexAttention does not run on a device, None if it does."""
    if device.type == "cuda" and not has_triton():
        return "needs Triton and a GPU that it can compile for (compute capability 7.0): pip install triton"
    return None


def _require_possible(query: Tensor, value: Tensor, dropout: float) -> None:
    """Refuse what FlexAttention refuses in words of its own, some of them from within its compiler."""
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
        InvalidInputError: There is dropout, or heads are too narrow, which FlexAttention cannot do.
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
