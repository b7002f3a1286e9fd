"""Checks for your own plug-ins: `check_reward` checks a reward function.

A check needs no test framework. It returns nothing, or raises `CheckError`, which pytest shows as a failed assertion.
"""

import math
from collections.abc import Sequence
from numbers import Real

from music.conversation import Conversation
from music.errors import MusicError
from music.reward.functions import RewardFunction
from music.reward.tokens.contract import UnscorableError

__all__ = ["CheckError", "check_reward"]

_HISTORY = Conversation().user("Name a fruit.").assistant("An apple.").user("Another one?")
SAMPLES = (
    Conversation().user("What is 3 + 4?").assistant("7."),
    Conversation().user("What is 3 + 4?").assistant("I would rather talk about the weather, which is mild."),
    Conversation.from_messages([{"role": "system", "content": "Answer in one word."}])
    .user("Which colour has the sky?")
    .assistant("Blue."),
    _HISTORY.assistant("A pear."),
    _HISTORY.assistant("An apple.").user("That is the same one.").assistant("Sorry: a pear.\n\nOr a plum."),
)
"""Conversations of one to three turns: some share a history, one has a system message."""
_UNANSWERED = (Conversation(), Conversation().user("Is anyone there?"))


class CheckError(MusicError, AssertionError):
    """A checked object breaks its contract; the message says what was expected and what was returned."""


def check_reward(
    reward: RewardFunction, conversations: Sequence[Conversation] = SAMPLES, *, tolerance: float = 1e-4
) -> None:
    """Check that a reward function follows the contract of `RewardFunction`.

    - It returns a list with one finite number per conversation, and an empty list for none.
    - It returns the same numbers when it is called again.
    - A conversation's reward does not depend on the others in the call, on their order or on their number.
    - It raises `UnscorableError` for a conversation that it cannot score, and no other error. Conversations without a
      reply are tried too; it may also return a number for them.

    The other checks skip conversations that raise `UnscorableError` when they are scored alone.

    Example:
        >>> from music.reward import length_reward, random_reward
        >>> from music.testing import check_reward
        >>> check_reward(length_reward)
        >>> check_reward(random_reward())
        Traceback (most recent call last):
        music.testing.CheckError: expected the same reward for conversation 0 in a second call, got ...

    Args:
        reward: The function to check.
        conversations: At least two conversations that the function should be able to score.
        tolerance: Largest difference between two rewards of one conversation, relative to the larger one or absolute.

    Raises:
        CheckError: The function breaks the contract, or can score fewer than two of the conversations.
    """
    if found := list(reward([])):
        raise CheckError(f"expected no rewards for no conversations, got {found}")
    alone = {index: score for index, c in enumerate(conversations) if (score := _score_alone(reward, c)) is not None}
    if len(alone) < 2:
        raise CheckError(
            f"expected at least two conversations that the reward can score, got {len(alone)} of {len(conversations)}: "
            "pass conversations of its own domain"
        )
    for unanswered in _UNANSWERED:
        _score_alone(reward, unanswered)
    order = list(alone)
    calls = {
        "in a second call": [_score(reward, [conversations[index]])[0] for index in order],
        "in a batch as alone": _score(reward, [conversations[index] for index in order]),
        "in the same batch once more": _score(reward, [conversations[index] for index in order]),
        "in reverse order": _score(reward, [conversations[index] for index in reversed(order)])[::-1],
        "beside a copy of itself": _score(reward, [conversations[index] for index in order for _ in range(2)])[1::2],
    }
    for what, scores in calls.items():
        for index, score in zip(order, scores, strict=True):
            if not math.isclose(score, alone[index], rel_tol=tolerance, abs_tol=tolerance):
                raise CheckError(
                    f"expected the same reward for conversation {index} {what}, got {score} after {alone[index]}"
                )


def _score_alone(reward: RewardFunction, conversation: Conversation) -> float | None:
    """Return a conversation's reward, or None if the function raises `UnscorableError`."""
    try:
        return _score(reward, [conversation])[0]
    except UnscorableError:
        return None


def _score(reward: RewardFunction, conversations: Sequence[Conversation]) -> list[float]:
    """Return the rewards of conversations, each a finite number.

    Raises:
        CheckError: The function returned anything else, or raised an error other than `UnscorableError`.
    """
    try:
        scores = reward(conversations)
    except UnscorableError:
        raise
    except Exception as error:
        raise CheckError(
            f"expected rewards of {len(conversations)} conversations or an UnscorableError, got {error!r}"
        ) from error
    if not isinstance(scores, list) or len(scores) != len(conversations):
        raise CheckError(f"expected a list of {len(conversations)} rewards, got {scores!r}")
    for score in scores:
        if isinstance(score, bool) or not isinstance(score, Real) or not math.isfinite(score):
            raise CheckError(f"expected rewards that are finite numbers, got {score!r}")
    return scores
