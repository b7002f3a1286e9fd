"""Attention back-ends for packed rows, and the models that are refused because their rewards would be wrong.

transformers also asks a registered function for the mask of each kind of layer. Ours returns a `CausalMask`, a
description instead of a tensor, and layers pass it to the back-end. So the window is the one that the model would use,
even if its layers do not name it.
"""

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from music.errors import InvalidInputError
from music.reward.attention.flex import flex_attention, why_no_flex
from music.reward.attention.gather import gather_attention
from music.reward.attention.table import PackedAttentionError, SegmentTable
from music.reward.attention.varlen import varlen_attention, why_no_flash

__all__ = ["BACKENDS", "Past", "choose_backend", "use_backend"]

Attention = Callable[..., tuple[Tensor, Tensor | None]]


class Past(Protocol):
    """The keys and values of earlier tokens."""

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return a layer's keys and values, `[1, key_heads, keys, head_dim]`, the cached ones before those given."""
        ...


BACKENDS: dict[str, Attention] = {
    "gather": gather_attention,
    "flex": flex_attention,
    "varlen": varlen_attention,
}
"""`gather`: segment by segment (CPU, reference). `flex`: FlexAttention (GPU). `varlen`: flash-attn (GPU)."""

_PREFIX = "music_"
_EXPECTED = (
    "expected a causal model whose layers attend through transformers' AttentionInterface (Gemma2, Qwen3, Llama)"
)
_LAYER_TYPES = {"full_attention", "sliding_attention"}
# Arguments of layers that do not change which tokens see which, or with what weight.
_HARMLESS = {"position_ids", "use_cache", "cache_position", "output_attentions", "output_hidden_states", "return_dict"}
_USED = {"scaling", "dropout", "sliding_window", "softcap", "is_causal"}


def choose_backend(device: torch.device, name: str | None = None) -> str:
    """Return the name of a back-end that works on a device; by default the fastest.

    Raises:
        InvalidInputError: There is no such back-end, or it does not work on the device.
    """
    if name is None:
        fastest_first = ("varlen", "flex", "gather") if device.type == "cuda" else ("gather",)
        return next(each for each in fastest_first if _why_not(each, device) is None)
    if name not in BACKENDS:
        raise InvalidInputError(f"attention back-end: expected one of {', '.join(BACKENDS)}, got {name!r}")
    if reason := _why_not(name, device):
        raise InvalidInputError(f"attention back-end {name}: {reason}, or use {choose_backend(device)}")
    return name


def _why_not(name: str, device: torch.device) -> str | None:
    """Return why a back-end does not run on a device; None if it does."""
    return why_no_flash(device) if name == "varlen" else why_no_flex(device) if name == "flex" else None


def use_backend(classifier: PreTrainedModel, name: str) -> None:
    """Switch a model to a back-end, which its saved checkpoints do not mention.

    Raises:
        PackedAttentionError: The model cannot attend to packed rows.
    """
    kind = type(classifier).__name__
    backbone: Any = getattr(classifier, classifier.base_model_prefix, classifier)
    config = backbone.config.get_text_config()
    if unknown := sorted(set(getattr(config, "layer_types", None) or ()) - _LAYER_TYPES):
        raise PackedAttentionError(f"{kind} cannot be packed: its layers are {', '.join(unknown)}; {_EXPECTED}")
    if all(each.kind is not Parameter.VAR_KEYWORD for each in signature(backbone.forward).parameters.values()):
        raise PackedAttentionError(f"{kind} cannot be packed: its backbone takes no further arguments; {_EXPECTED}")
    try:
        classifier.set_attn_implementation(_PREFIX + name)
    except ValueError as error:
        raise PackedAttentionError(f"{kind} cannot be packed: {error}; {_EXPECTED}") from error
    # transformers only warns if a class does not take registered attention functions.
    if config._attn_implementation != _PREFIX + name:
        raise PackedAttentionError(f"{kind} cannot be packed: its attention cannot be replaced; {_EXPECTED}")


def _guarded(attend: Attention) -> Attention:
    """Wrap a back-end for transformers: refuse calls that it would get wrong, and record which layer attended."""

    @wraps(attend)
    def attention(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Any = None,
        *,
        segments: SegmentTable | None = None,
        past: Past | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        if segments is None:
            raise PackedAttentionError(
                f"{type(module).__name__} attends to packed rows and was called without `segments`: score with "
                "RewardModel or PackedScorer, or set_attn_implementation('eager') to use the model by itself. "
                f"Or the model does not pass its arguments on to its layers: {_EXPECTED}"
            )
        if isinstance(attention_mask, CausalMask):  # some layers' windows are in the mask alone
            kwargs["sliding_window"], attention_mask = attention_mask.window, None
        _require_known(module, kwargs | {"attention_mask": attention_mask})
        layer = getattr(module, "layer_idx", -1)
        if past is not None:
            key, value = past.extend(layer, key, value)
        _require_row(query, key, segments)
        segments.attended.add(layer)
        return attend(module, query, key, value, segments, **kwargs)

    # A compiled layer would trace this code anew for each row; flex compiles its own kernel.
    untraced: Attention = torch.compiler.disable(attention)  # type: ignore[no-untyped-call]
    return untraced


def _require_row(query: Tensor, key: Tensor, segments: SegmentTable) -> None:
    """Refuse tensors that do not match the row, which may be padded at its end."""
    num_filled = query.shape[2] - segments.num_queries
    if query.shape[0] != 1 or num_filled < 0:
        raise PackedAttentionError(
            f"expected one packed row of {segments.num_queries} tokens, got a batch of {query.shape[0]} with "
            f"{query.shape[2]}: sequences are packed into one row, not stacked"
        )
    if key.shape[2] != segments.num_keys + num_filled:
        raise PackedAttentionError(
            f"expected {segments.num_cached} cached keys, got {key.shape[2] - query.shape[2]}: keys of earlier tokens "
            "come from `past` alone, never from a cache of transformers, and the table must be made for them"
        )


def _require_known(module: nn.Module, kwargs: dict[str, Any]) -> None:
    """Refuse attention that is not causal, or that depends on something that back-ends ignore, such as sinks."""
    unknown = sorted(name for name, value in kwargs.items() if value is not None and name not in _USED | _HARMLESS)
    if unknown:
        raise PackedAttentionError(f"{type(module).__name__} cannot be packed: it uses {', '.join(unknown)}")
    if getattr(module, "is_causal", True) is False or kwargs.get("is_causal") is False:
        raise PackedAttentionError(f"{type(module).__name__} cannot be packed: it is not causal")


class CausalMask:
    """The mask of a causal layer.

    Attributes:
        kind: The type of the model, for messages.
        window: Number of positions that a token sees, its own included; None for all before it.
    """

    def __init__(self, kind: str, window: int | None) -> None:
        self.kind = kind
        self.window = window

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse a layer that uses it as a tensor."""
        if name.startswith("__"):
            raise AttributeError(name)
        raise PackedAttentionError(f"{self.kind} cannot be packed: it uses attention_mask: its layers mask more tokens")


def describe_mask(
    *, config: Any, use_vmap: bool = False, local_size: int | None = None, attention_mask: Any = None, **kwargs: Any
) -> CausalMask:
    """Return a description of the mask that transformers asks for.

    Args:
        config: The model's configuration.
        use_vmap: Whether the model adds a mask of its own to the causal one.
        local_size: Size of the window or of the chunks.
        attention_mask: A padding mask.
        **kwargs: Sizes, offsets and dtype of the mask.

    Raises:
        PackedAttentionError: The mask is not that of causal attention, with or without a sliding window.
    """
    kind = config.model_type
    if "allow_is_bidirectional_skip" in kwargs:
        raise PackedAttentionError(f"{kind} cannot be packed: its attention is not causal")
    if use_vmap or (attention_mask is not None and not attention_mask.all()):
        raise PackedAttentionError(f"{kind} cannot be packed: it masks more than later tokens")
    if local_size is not None and local_size != getattr(config, "sliding_window", None):
        raise PackedAttentionError(f"{kind} cannot be packed: it attends within chunks of {local_size} tokens")
    return CausalMask(kind, local_size)


for _name, _attend in BACKENDS.items():
    AttentionInterface.register(_PREFIX + _name, _guarded(_attend))
    AttentionMaskInterface.register(_PREFIX + _name, describe_mask)
