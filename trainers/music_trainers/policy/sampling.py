"""Replies of a local language model, many at once, from its own distribution."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from music_trainers.policy.chat_tokens import ChatTokens

__all__ = ["pad", "sample_replies"]


def sample_replies(
    model: Any, tokens: ChatTokens, prompts: Sequence[Sequence[int]], *, max_tokens: int, greedy: bool = False
) -> list[list[int]]:
    """Sample one reply to each prompt from the plain policy: the softmax of its logits at temperature 1.

    GRPO's importance ratios assume this. The model's `generation_config` (a repetition penalty, top-k, forbidden tokens
    and so on) has no effect here; it is saved with the policy unchanged.

    Args:
        model: A causal language model on its device, also with peft's adapters.
        tokens: The chat template, which has the tokens that end a reply.
        prompts: Token ids up to the start of the reply.
        max_tokens: Largest number of tokens in a reply.
        greedy: Take the likeliest token each time instead of sampling.

    Returns:
        Token ids; the last is an end token unless the reply was cut at `max_tokens`.
    """
    ids = pad(prompts, tokens.pad_id, side="left")
    mask = pad([[1] * len(prompt) for prompt in prompts], 0, side="left")
    how = {"do_sample": False} if greedy else {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    with torch.no_grad(), _plain(model) as plain:
        output = plain.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=max_tokens,
            eos_token_id=list(tokens.end_ids),
            pad_token_id=tokens.pad_id,
            **how,
        )
    replies = []
    for reply in output[:, ids.shape[1] :].tolist():
        end = next((place for place, token in enumerate(reply) if token in tokens.end_ids), len(reply))
        replies.append(reply[: end + 1])
    return replies


@contextmanager
def _plain(model: Any) -> Iterator[Any]:
    """Yield the model that generates, without its own generation settings within the block.

    A `GenerationConfig` passed to `generate` would not do: what it leaves open is taken from the model's.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    own, base.generation_config = base.generation_config, GenerationConfig()  # type: ignore[no-untyped-call]
    try:
        yield base
    finally:
        base.generation_config = own


def pad(rows: Sequence[Sequence[int | float]], value: float, side: str = "right") -> Tensor:
    """Return rows of different lengths as one tensor, shape `[rows, longest]`."""
    return torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(row) for row in rows], batch_first=True, padding_value=value, padding_side=side
    )
