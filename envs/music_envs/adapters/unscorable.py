"""Scores for conversations of which some have none: a policy in training writes blank and endless replies too."""

from collections.abc import Sequence

from music.conversation import Conversation
from music.reward.functions import RewardFunction
from music.reward.tokens.contract import UnscorableError
from music_envs.scoring import checked_scores

__all__ = ["scores_or_none"]


def scores_or_none(reward: RewardFunction, conversations: Sequence[Conversation | None]) -> list[float | None]:
    """Score conversations in one call; those that the reward model cannot score have None, never 0.

    Args:
        reward: Scores.
        conversations: None where there is nothing to score.

    Raises:
        InvalidInputError: The reward gave scores that are no use.
    """
    sound = [conversation for conversation in conversations if conversation is not None]
    try:
        scores: list[float | None] = list(checked_scores(reward, sound)) if sound else []
    except UnscorableError:  # one of them, and it takes the call with it: ask for each
        scores = [_score_or_none(reward, conversation) for conversation in sound]
    given = iter(scores)
    return [None if conversation is None else next(given) for conversation in conversations]


def _score_or_none(reward: RewardFunction, conversation: Conversation) -> float | None:
    try:
        return checked_scores(reward, [conversation])[0]
    except UnscorableError:
        return None
