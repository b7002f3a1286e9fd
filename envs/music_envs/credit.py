"""Credit for each turn: from the rewards of turns to advantages of tokens. All trainers and adapters share this rule.

1. The return of a reply is its own reward plus the discounted rewards of later replies (`returns_to_go`).
2. Its advantage is its return minus the mean return of the replies to the same user at the same turn, in units of the
   batch's standard deviation (`turn_advantages`).
3. Every token of the reply has this advantage; the user's tokens have 0 (`token_advantages`).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from music.errors import InvalidInputError

__all__ = ["USER", "returns_to_go", "token_advantages", "turn_advantages"]

USER = -1
"""The turn of a token that the policy did not write."""

Floats = NDArray[np.float64]


def returns_to_go(rewards: Sequence[float], discount: float) -> list[float]:
    """Return each turn's reward plus the discounted rewards of later turns; NaN if a reward that counts is NaN."""
    returns: list[float] = []
    for reward in reversed(rewards):
        # Not 0 * later: with a discount of 0, later rewards do not count even if they are NaN.
        returns.append(reward + discount * returns[-1] if discount and returns else reward)
    return returns[::-1]


def turn_advantages(rewards: Sequence[Sequence[float]], group_size: int, discount: float) -> Floats:
    """Return the advantage of each turn over its group, in units of the batch's standard deviation.

    The baseline is the mean return-to-go of the group at that turn (GRPO's baseline, turn by turn), so different turns
    are never compared. One scale for the whole batch keeps small differences within a group small.

    Args:
        rewards: The rewards of each episode's turns; the episodes of a group are consecutive.
        group_size: Number of episodes in a group.
        discount: Weight of the next turn's return; with 0 only a reply's own reward counts.

    Returns:
        Shape `[episodes, most turns]`; 0 for turns that were not played or have no reward.

    Raises:
        InvalidInputError: The episodes cannot be grouped.
    """
    if not rewards or len(rewards) % group_size:
        raise InvalidInputError(f"expected groups of {group_size} episodes, got {len(rewards)} episodes")
    returns = np.full((len(rewards), max(map(len, rewards))), math.nan)
    for row, episode in zip(returns, rewards, strict=True):
        row[: len(episode)] = returns_to_go(episode, discount)
    groups = returns.reshape(-1, group_size, returns.shape[1])
    counts = np.isfinite(groups).sum(axis=1, keepdims=True)
    means = np.nansum(groups, axis=1, keepdims=True) / np.maximum(counts, 1)
    centred: Floats = np.nan_to_num(groups - means).reshape(returns.shape)
    scale = math.sqrt(float((centred**2).sum()) / max(1, int(counts.sum())))
    return centred / scale if scale else centred


def token_advantages(by_turn: Floats, turns: Sequence[Sequence[int]]) -> list[list[float]]:
    """Return the advantage of each token: that of its reply, and 0 for a token that the policy did not write.

    Args:
        by_turn: The advantages of the turns, shape `[episodes, most turns]`.
        turns: For each token of each episode, the turn of the reply that it belongs to, from 0, or `USER`.
    """
    return [
        [0.0 if turn == USER else float(row[turn]) for turn in of_episode]
        for row, of_episode in zip(by_turn, turns, strict=True)
    ]
