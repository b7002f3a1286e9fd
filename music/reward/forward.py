"""Rewards from token ids: right-padded batches through the backbone, the head in fp32 at the reward tokens.

No attention mask is passed. In a causal model nothing sees what stands to its right, so right padding cannot reach a
reward token, and attention without a mask takes the fastest kernels. Padding also makes no difference in score between
one batch and another beyond rounding.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["batch_by_length", "pad_right", "pooled_rewards", "score_rows"]

# On the CPU small batches win, since their activations stay in cache; on a GPU eager attention bounds the memory.
_MAX_TOKENS = {"cpu": 2_048, "cuda": 16_384}


def pooled_rewards(classifier: nn.Module, input_ids: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the raw logits at chosen tokens.

    Args:
        classifier: A causal sequence classifier with one label, whose head is called `score`.
        input_ids: `[batch, length]`, right-padded.
        rows: `[rewards]`, the row of each reward.
        columns: `[rewards]`, the token index of each reward.

    Returns:
        `[rewards]` in fp32, whatever the backbone computes in.
    """
    backbone: Any = getattr(classifier, str(classifier.base_model_prefix))
    head: Any = classifier.score
    hidden = backbone(input_ids=input_ids, use_cache=False).last_hidden_state[rows, columns]
    with torch.autocast(hidden.device.type, enabled=False):
        bias = None if head.bias is None else head.bias.float()
        return nn.functional.linear(hidden.float(), head.weight.float(), bias).squeeze(-1)


def pad_right(rows: Sequence[Sequence[int]], pad_token_id: int, device: torch.device | str = "cpu") -> Tensor:
    """Stack rows of token ids into `[batch, length]`."""
    length = max(map(len, rows))
    padded = [[*row, *[pad_token_id] * (length - len(row))] for row in rows]
    return torch.tensor(padded, device=device)


def batch_by_length(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Group rows of like length, longest first, so that no padded group holds more than `max_tokens`.

    A row longer than `max_tokens` makes a group of its own.
    """
    groups: list[list[int]] = []
    room = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if not groups or len(groups[-1]) >= room:
            groups.append([])
            room = max(1, max_tokens // lengths[index])
        groups[-1].append(index)
    return groups


@torch.no_grad()
def score_rows(
    classifier: nn.Module,
    rows: Sequence[Sequence[int]],
    *,
    ends: Sequence[Sequence[int]] | None = None,
    pad_token_id: int,
    device: torch.device,
) -> list[list[float]]:
    """Score rows of token ids in batches by length.

    Args:
        classifier: See `pooled_rewards`; it should be in eval mode.
        rows: Token ids.
        ends: Per row, the token indices at which to read rewards; the last token by default.
        pad_token_id: Fills the batches.
        device: Where the classifier is.

    Returns:
        Per row, one reward per end.
    """
    ends = [[len(row) - 1] for row in rows] if ends is None else ends
    scores: list[list[float]] = [[] for _ in rows]
    for group in batch_by_length([len(row) for row in rows], _MAX_TOKENS.get(device.type, _MAX_TOKENS["cpu"])):
        input_ids = pad_right([rows[i] for i in group], pad_token_id, device)
        at = [(row, end) for row, i in enumerate(group) for end in ends[i]]
        where = torch.tensor(at, device=device).T
        rewards = iter(pooled_rewards(classifier, input_ids, where[0], where[1]).tolist())
        for i in group:
            scores[i] = [next(rewards) for _ in ends[i]]
    return scores
