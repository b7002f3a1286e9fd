"""What a model's own code would mask, as a description in place of a tensor: packed rows need a mask of their own.

transformers asks a registered function for the mask of each kind of layer. Ours returns a `CausalMask`, which layers
hand on to the back-end. So the window is the one that the model would mask by, even where its layers do not name it.
"""

from typing import Any, NoReturn

from music.reward.attention.table import PackedAttentionError

__all__ = ["CausalMask", "describe_mask"]


class CausalMask:
    """The mask of a causal layer.

    Attributes:
        kind: Of model.
        window: Positions that a token sees, its own included; None for all before it.
    """

    def __init__(self, kind: str, window: int | None) -> None:
        self.kind = kind
        self.window = window

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse a layer that takes it for a tensor."""
        if name.startswith("__"):
            raise AttributeError(name)
        raise PackedAttentionError(f"{self.kind} cannot be packed: it uses attention_mask, as its layers mask more")


def describe_mask(
    *, config: Any, use_vmap: bool = False, local_size: int | None = None, attention_mask: Any = None, **kwargs: Any
) -> CausalMask:
    """Return the description of a mask that transformers asks for.

    Args:
        config: Of the model.
        use_vmap: Whether the model adds a mask of its own to the causal one.
        local_size: Of the window, or of the chunks.
        attention_mask: A padding mask.
        **kwargs: What else describes a mask: sizes, offsets, dtype.

    Raises:
        PackedAttentionError: The mask is not that of causal attention, with a sliding window or without.
    """
    kind = config.model_type
    if "allow_is_bidirectional_skip" in kwargs:
        raise PackedAttentionError(f"{kind} cannot be packed: its attention is not causal")
    if use_vmap or (attention_mask is not None and not attention_mask.all()):
        raise PackedAttentionError(f"{kind} cannot be packed: it masks more than what comes later")
    if local_size is not None and local_size != getattr(config, "sliding_window", None):
        raise PackedAttentionError(f"{kind} cannot be packed: it attends within chunks of {local_size} tokens")
    return CausalMask(kind, local_size)
