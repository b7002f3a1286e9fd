"""The back-end on flash-attn's variable-length kernel, over gathered keys and values (GPU with flash-attn installed).

flash-attn aligns a causal mask to the bottom right. So with the keys of each segment in the order of its path, the
mask, the sliding window and the softcap are exactly those of the whole sequence. FlexAttention computes what this
kernel does not support.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.utils.import_utils import is_flash_attn_greater_or_equal

from music.reward.attention.flex import flex_attention
from music.reward.attention.table import SegmentTable

__all__ = ["DTYPES", "varlen_attention", "why_no_flash"]

DTYPES = (torch.float16, torch.bfloat16)
"""The dtypes that the kernel supports."""
_WIDEST_HEAD = 256
_MIN_VERSION = "2.6.2"
"""2.6.0 and 2.6.1 apply the softcap in the forward pass and omit it from the gradients."""


def why_no_flash(device: torch.device) -> str | None:
    """Return why flash-attn does not run on a device, None if it does."""
    if device.type != "cuda" or not is_flash_attn_greater_or_equal(_MIN_VERSION):
        return f"needs a CUDA GPU and flash-attn {_MIN_VERSION} or later, of version 2: pip install -U flash-attn"
    if (capability := torch.cuda.get_device_capability(device)) < (8, 0):
        return f"needs a GPU of compute capability 8.0 or later, got {capability[0]}.{capability[1]}"
    try:
        from flash_attn import flash_attn_varlen_func  # noqa: F401
    except ImportError as error:
        return f"needs a flash-attn that was built for torch {torch.__version__}: {error}"
    return None


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
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend to gathered keys in one kernel; see `gather_attention` for the arguments."""
    query, key, value = _in_one_dtype(query, key, value)
    is_narrow = query.shape[3] == value.shape[3] <= _WIDEST_HEAD
    if query.dtype not in DTYPES or not is_narrow or (softcap and dropout):
        kwargs |= {"scaling": scaling, "dropout": dropout, "sliding_window": sliding_window, "softcap": softcap}
        return flex_attention(module, query, key, value, segments, **kwargs)
    from flash_attn import flash_attn_varlen_func

    device = key.device
    layout = segments.once(("layout", device), lambda: _Layout.of(segments, device))
    kernel = partial(
        flash_attn_varlen_func,
        dropout_p=dropout,
        softmax_scale=scaling,
        causal=True,
        window_size=(-1, -1) if sliding_window is None else (sliding_window - 1, 0),
        softcap=softcap or 0.0,
        deterministic=torch.are_deterministic_algorithms_enabled(),
    )
    tokens_first = (each[0].transpose(0, 1) for each in (query, key, value))
    return layout.attend(kernel, *tokens_first, is_random=dropout > 0)[None], None


def _in_one_dtype(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values in the dtype that the layer computes in.

    Under autocast, rotary embeddings and norms leave queries and keys in fp32, while values come from a linear layer in
    bf16. Autocast casts the operands of torch's own attention and of FlexAttention, but not those of flash-attn, which
    refuses them. Without autocast, values have the dtype of the weights.
    """
    kind = query.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else value.dtype
    return query.to(dtype), key.to(dtype), value.to(dtype)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the kernel finds each segment's queries and the keys on its path.

    Attributes:
        index: Indices of the keys on each segment's path, segment by segment. None if no segment sees another, so that
            the row's own keys serve.
        cu_queries: Cumulative number of queries, `[segments + 1]`.
        cu_keys: Cumulative number of keys, `[segments + 1]`.
        longest_queries: Most queries of a segment.
        longest_keys: Most keys of a segment.
    """

    index: Tensor | None
    cu_queries: Tensor
    cu_keys: Tensor
    longest_queries: int
    longest_keys: int

    @classmethod
    def of(cls, segments: SegmentTable, device: torch.device) -> "_Layout":
        """Return the layout of a row."""
        queries = [segment.num_tokens for segment in segments.own]
        keys = [segment.num_keys for segment in segments.own]
        index = None
        if segments.cached or queries != keys:
            spans = [torch.arange(segment.start, segment.stop) for segment in segments.both]
            index = torch.cat([spans[i] for segment in segments.own for i in segment.path])
            index = index.to(device, non_blocking=True)
        return cls(index, _cumulated(queries, device), _cumulated(keys, device), max(queries), max(keys))

    def attend(
        self, kernel: Callable[..., Tensor], query: Tensor, key: Tensor, value: Tensor, *, is_random: bool
    ) -> Tensor:
        """Call the kernel; tensors are `[tokens, heads, head_dim]`.

        The gathered keys contain a history once for each segment that continues it. These copies are not kept for the
        backward pass, which gathers and attends again.
        """
        again = partial(self._gather_and_attend, kernel)
        if self.index is None or not torch.is_grad_enabled():
            return again(query, key, value)
        attended: Tensor = checkpoint(again, query, key, value, use_reentrant=False, preserve_rng_state=is_random)
        return attended

    def _gather_and_attend(self, kernel: Callable[..., Tensor], query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if self.index is not None:
            key, value = key.index_select(0, self.index), value.index_select(0, self.index)
        return kernel(query, key, value, self.cu_queries, self.cu_keys, self.longest_queries, self.longest_keys)


def _cumulated(lengths: list[int], device: torch.device) -> Tensor:
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32).to(device, non_blocking=True)
