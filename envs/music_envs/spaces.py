"""Gymnasium spaces of text: the assistant's reply (action) and the conversation (observation).

Batched, by `gymnasium.vector.utils.batch_space` or `batch_differing_spaces`, they are tuples of themselves.
"""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from gymnasium.spaces import Space, Tuple
from gymnasium.spaces.utils import is_space_dtype_shape_equiv
from gymnasium.vector.utils import batch_differing_spaces

from music.conversation import Conversation

__all__ = ["ConversationSpace", "ReplySpace", "is_encodable"]

_WORDS = (
    "a",
    "about",
    "and",
    "answer",
    "as",
    "for",
    "here",
    "idea",
    "is",
    "it",
    "of",
    "one",
    "say",
    "the",
    "then",
    "you",
)


def _sentence(rng: np.random.Generator) -> str:
    """Return a few plain words; samples exist to exercise an environment, not to mean anything."""
    return " ".join(rng.choice(_WORDS, size=rng.integers(1, 13))).capitalize() + "."


class ReplySpace(Space[str]):
    """Any text that is not blank, that UTF-8 can encode, and of up to `max_chars` characters.

    Args:
        max_chars: At least 120, to hold the longest sample.
        seed: Of the samples.
    """

    def __init__(self, max_chars: int = 100_000, seed: int | np.random.Generator | None = None) -> None:
        self.max_chars = max_chars
        super().__init__(dtype=str, seed=seed)

    @property
    def is_np_flattenable(self) -> bool:
        """Text has no fixed-size array form."""
        return False

    def sample(self, mask: None = None, probability: None = None) -> str:
        """Return a random short sentence; masks and probabilities have no meaning here."""
        return _sentence(self.np_random)

    def contains(self, x: Any) -> bool:
        """Return whether `x` can be a reply."""
        return isinstance(x, str) and bool(x.strip()) and len(x) <= self.max_chars and is_encodable(x)

    def __eq__(self, other: object) -> bool:
        """Two reply spaces of one length are equal."""
        return isinstance(other, ReplySpace) and self.max_chars == other.max_chars

    def __repr__(self) -> str:
        """Return the constructor's call."""
        return f"ReplySpace({self.max_chars})"


class ConversationSpace(Space[Conversation]):
    """Conversations of at least one message; until they are over they end with the user, then with either side."""

    @property
    def is_np_flattenable(self) -> bool:
        """Conversations have no fixed-size array form."""
        return False

    def sample(self, mask: None = None, probability: None = None) -> Conversation:
        """Return a random conversation of one to three user messages; masks and probabilities have no meaning here."""
        conversation = Conversation()
        for _ in range(self.np_random.integers(0, 3)):
            conversation = conversation.user(_sentence(self.np_random)).assistant(_sentence(self.np_random))
        return conversation.user(_sentence(self.np_random))

    def contains(self, x: Any) -> bool:
        """Return whether `x` is a conversation with at least one message beside the system's."""
        return isinstance(x, Conversation) and len(x.messages) > int(x.has_system)

    def to_jsonable(self, sample_n: Iterable[Conversation]) -> list[list[dict[str, str]]]:
        """Return conversations as lists of `{role, content}`."""
        return [conversation.to_messages() for conversation in sample_n]

    def from_jsonable(self, sample_n: list[Any]) -> list[Conversation]:
        """Undo `to_jsonable`."""
        return [Conversation.from_messages(messages) for messages in sample_n]

    def __eq__(self, other: object) -> bool:
        """All conversation spaces are equal."""
        return isinstance(other, ConversationSpace)

    def __repr__(self) -> str:
        """Return the constructor's call."""
        return "ConversationSpace()"


def is_encodable(text: str) -> bool:
    """Return whether UTF-8 can encode a text; it cannot encode half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _batch_differing(spaces: Sequence[Space[Any]]) -> Tuple[Any]:
    """Batch spaces of one of our kinds, of one length or not."""
    return Tuple([deepcopy(space) for space in spaces], seed=deepcopy(spaces[0].np_random))


for _kind in (ReplySpace, ConversationSpace):  # Gymnasium registers its own spaces only
    is_space_dtype_shape_equiv.register(_kind, lambda space, other: type(space) is type(other))
    batch_differing_spaces.register(_kind, _batch_differing)
