"""`RewardSession`: the candidates of one conversation, scored turn after turn."""

from collections.abc import Sequence
from typing import Protocol

from music.conversation import Conversation
from music.errors import InvalidInputError

__all__ = ["RewardSession"]


class _Scorer(Protocol):
    """A `RewardModel` with a prefix cache."""

    def score(self, conversations: Sequence[Conversation], *, names: Sequence[str]) -> list[float]: ...


class RewardSession:
    """Scores candidate replies to a history that grows turn by turn; each token of the history is computed once.

    The scores are those of whole conversations. A session is a convenience over `RewardModel.with_prefix_cache` for one
    conversation. For many conversations at once, call such a model yourself.

    Example:
        >>> session = model.session(Conversation().user("Hi!"))  # doctest: +SKIP
        >>> session.score_candidates(["Hello.", "What?"])  # doctest: +SKIP
        [0.73, -0.2]
        >>> session.extend("Hello.", "How are you?")  # doctest: +SKIP
    """

    def __init__(self, model: _Scorer, history: Conversation) -> None:
        """Start with a history; this computes nothing.

        Args:
            model: A model with a prefix cache.
            history: A conversation that ends with the user.

        Raises:
            InvalidInputError: The history does not end with the user.
        """
        if history.next_role != "assistant":
            raise InvalidInputError(
                "a session's history: expected it to end with the user, because candidates answer the user"
            )
        self._model = model
        self._history = history

    @property
    def history(self) -> Conversation:
        """The conversation so far, which ends with the user."""
        return self._history

    def extend(self, reply: str, user: str) -> None:
        """Append the assistant's reply, which need not be a candidate, and the user's next message."""
        self._history = self._history.assistant(reply).user(user)

    def score_candidates(self, candidates: Sequence[str]) -> list[float]:
        """Return one score per candidate reply to the history.

        Raises:
            UnscorableError: A conversation with a candidate has no score.
        """
        whole = [self._history.assistant(candidate) for candidate in candidates]
        return self._model.score(whole, names=[f"candidate {index}" for index in range(len(whole))])
