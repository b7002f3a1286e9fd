"""Calling a reward function with care: one score per conversation, each a finite number."""

import math
from collections.abc import Sequence

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.functions import RewardFunction

__all__ = ["checked_scores"]


def checked_scores(reward: RewardFunction, conversations: Sequence[Conversation]) -> list[float]:
    """Score conversations in one call.

    Raises:
        InvalidInputError: The reward gave another number of scores, or one that is not finite.
    """
    scores = [float(score) for score in reward(conversations)]
    if len(scores) != len(conversations):
        raise InvalidInputError(f"expected {len(conversations)} scores from the reward function, got {len(scores)}")
    for index, score in enumerate(scores):
        if not math.isfinite(score):
            raise InvalidInputError(f"expected finite scores from the reward function, got {score} at index {index}")
    return scores
