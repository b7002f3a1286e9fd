"""The advantage of each turn: what its reply earned beyond other replies to the same user at the same turn."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from music.errors import InvalidInputError

__all__ = ["returns_to_go", "turn_advantages"]

Floats = NDArray[np.float64]


def returns_to_go(rewards: Sequence[float], discount: float) -> list[float]:
    """Return for each turn its reward, and those of later turns discounted; NaN where a reward that counts is NaN."""
    returns: list[float] = []
    for reward in reversed(rewards):
        # Not 0 * later: at a discount of 0 what comes later does not count, be it NaN.
        returns.append(reward + discount * returns[-1] if discount and returns else reward)
    return returns[::-1]


def turn_advantages(rewards: Sequence[Sequence[float]], group_size: int, discount: float) -> Floats:
    """Return the advantage of each turn over its group, in units of the batch's standard deviation.

    The baseline is the mean return-to-go of the group at that turn (GRPO's, turn by turn), so turns are never compared
    with other turns. One scale for the whole batch keeps small differences within a group small.

    Args:
        rewards: Of each episode, one for each of its turns; episodes of a group stand side by side.
        group_size: Episodes in a group.
        discount: How much the next turn's return counts; 0 makes each reply answer for itself alone.

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
