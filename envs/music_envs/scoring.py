"""Scores of conversations, checked: one finite score each, or None for those that cannot be scored."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.functions import RewardFunction, load_reward
from music.reward.tokens.contract import UnscorableError

__all__ = ["checked_scores", "load_growing_reward", "scores_or_none"]


def load_growing_reward(spec: str) -> RewardFunction:
    """Load a reward by name (see `load_reward`) for conversations that are scored again as they grow.

    A reward model in this process caches what it has computed; see `RewardModel.with_prefix_cache`.
    """
    reward = load_reward(spec)
    with_prefix_cache: Callable[[], RewardFunction] | None = getattr(reward, "with_prefix_cache", None)
    return with_prefix_cache() if with_prefix_cache else reward


def checked_scores(reward: RewardFunction, conversations: Sequence[Conversation]) -> list[float]:
    """Score conversations in one call.

    Raises:
        InvalidInputError: The reward returned anything but a sequence of as many finite numbers.
    """
    scores = _numbers(reward(conversations), len(conversations))
    if len(scores) != len(conversations):
        raise InvalidInputError(f"expected {len(conversations)} scores from the reward function, got {len(scores)}")
    for index, score in enumerate(scores):
        if not math.isfinite(score):
            raise InvalidInputError(f"expected finite scores from the reward function, got {score} at index {index}")
    return scores


def _numbers(returned: object, num: int) -> list[float]:
    """Return what a reward function returned as numbers."""
    try:
        if isinstance(returned, str | bytes | Mapping):
            raise TypeError("no sequence of numbers")
        return [_number(value) for value in cast(Iterable[object], returned)]
    except (TypeError, ValueError, RuntimeError):  # torch refuses tensors of several numbers with a RuntimeError
        raise InvalidInputError(
            f"expected a sequence of {num} numbers from the reward function, one score per conversation, got "
            f"{type(returned).__name__}: {returned!r:.100}"
        ) from None


def _number(value: object) -> float:
    if isinstance(value, str | bytes):
        raise TypeError("text is no number")
    return float(cast(float, value))


def scores_or_none(reward: RewardFunction, conversations: Sequence[Conversation | None]) -> list[float | None]:
    """Score conversations in one call; those that the reward model cannot score get None, never 0.

    A policy in training may write blank or endless replies.

    Args:
        reward: Scores conversations.
        conversations: None means nothing to score.

    Raises:
        InvalidInputError: The reward returned unusable scores.
    """
    sound = [conversation for conversation in conversations if conversation is not None]
    try:
        scores: list[float | None] = list(checked_scores(reward, sound)) if sound else []
    except UnscorableError:  # One conversation fails the whole call: score each on its own.
        single = len(sound) == 1
        scores = [None] if single else [score for each in sound for score in scores_or_none(reward, [each])]
    given = iter(scores)
    return [None if conversation is None else next(given) for conversation in conversations]
