"""Scoring conversations that grow, and checking what a reward returns: a finite score for each, or None for some."""

import math
from collections.abc import Callable, Sequence

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.functions import RewardFunction, load_reward
from music.reward.tokens.contract import UnscorableError

__all__ = ["checked_scores", "load_growing_reward", "scores_or_none"]


def load_growing_reward(spec: str) -> RewardFunction:
    """Load the reward that a user named (see `load_reward`), for conversations that are scored again as they grow.

    A reward model in this process caches what it has computed of them; see `RewardModel.with_prefix_cache`.
    """
    reward = load_reward(spec)
    with_prefix_cache: Callable[[], RewardFunction] | None = getattr(reward, "with_prefix_cache", None)
    return with_prefix_cache() if with_prefix_cache else reward


def checked_scores(reward: RewardFunction, conversations: Sequence[Conversation]) -> list[float]:
    """Score conversations in one call.

    Raises:
        InvalidInputError: The reward returned another number of scores, or one that is not finite.
    """
    scores = [float(score) for score in reward(conversations)]
    if len(scores) != len(conversations):
        raise InvalidInputError(f"expected {len(conversations)} scores from the reward function, got {len(scores)}")
    for index, score in enumerate(scores):
        if not math.isfinite(score):
            raise InvalidInputError(f"expected finite scores from the reward function, got {score} at index {index}")
    return scores


def scores_or_none(reward: RewardFunction, conversations: Sequence[Conversation | None]) -> list[float | None]:
    """Score conversations in one call; those that the reward model cannot score get None, never 0.

    A policy in training writes blank and endless replies too.

    Args:
        reward: Scores.
        conversations: None where there is nothing to score.

    Raises:
        InvalidInputError: The reward returned unusable scores.
    """
    sound = [conversation for conversation in conversations if conversation is not None]
    try:
        scores: list[float | None] = list(checked_scores(reward, sound)) if sound else []
    except UnscorableError:  # one of them, and the whole call fails with it: ask for each
        scores = [_score_or_none(reward, conversation) for conversation in sound]
    given = iter(scores)
    return [None if conversation is None else next(given) for conversation in conversations]


def _score_or_none(reward: RewardFunction, conversation: Conversation) -> float | None:
    try:
        return checked_scores(reward, [conversation])[0]
    except UnscorableError:
        return None
