"""Opening a reward for conversations that grow, and calling one with care: a score for each, a finite number."""

import math
from collections.abc import Callable, Sequence

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.functions import RewardFunction, load_reward

__all__ = ["checked_scores", "load_growing_reward"]


def load_growing_reward(spec: str) -> RewardFunction:
    """Open the reward that a user named (see `load_reward`), for conversations that are scored again as they grow.

    A reward model of this process keeps what it has computed of them; see `RewardModel.with_prefix_cache`.
    """
    reward = load_reward(spec)
    with_prefix_cache: Callable[[], RewardFunction] | None = getattr(reward, "with_prefix_cache", None)
    return with_prefix_cache() if with_prefix_cache else reward


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
