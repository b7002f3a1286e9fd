"""Replies of a local language model, many at once."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from music_trainers.policy.tokens import ChatTokens

__all__ = ["pad", "sample_replies"]


def sample_replies(
    model: Any, tokens: ChatTokens, prompts: Sequence[Sequence[int]], *, max_tokens: int, greedy: bool = False
) -> list[list[int]]:
    """Sample one reply to each prompt, from the model's own distribution: temperature 1, nothing cut off.

    Args:
        model: A causal language model, on its device.
        tokens: Knows which tokens end a reply.
        prompts: Token ids, each up to where the reply begins.
        max_tokens: Bound on a reply's tokens.
        greedy: Take the likeliest token each time instead.

    Returns:
        Token ids; the last is an end token unless the bound cut the reply.
    """
    ids = pad(prompts, tokens.pad_id, side="left")
    mask = pad([[1] * len(prompt) for prompt in prompts], 0, side="left")
    how = {"do_sample": False} if greedy else {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    with torch.no_grad():
        output = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=max_tokens,
            eos_token_id=list(tokens.end_ids),
            pad_token_id=tokens.pad_id,
            **how,
        )
    return [_ended(reply, tokens.end_ids) for reply in output[:, ids.shape[1] :].tolist()]


def pad(rows: Sequence[Sequence[int | float]], value: float, side: str = "right") -> Tensor:
    """Return rows of different lengths as one tensor; shape `[rows, longest]`."""
    return torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(row) for row in rows], batch_first=True, padding_value=value, padding_side=side
    )


def _ended(reply: list[int], end_ids: Sequence[int]) -> list[int]:
    """Cut a reply behind its first end token."""
    end = next((place for place, token in enumerate(reply) if token in end_ids), len(reply))
    return reply[: end + 1]
