"""Gymnasium spaces of text: the assistant's reply (action) and the conversation (observation).

Batching them (`gymnasium.vector.utils.batch_space`, `batch_differing_spaces`) gives a `Tuple` of them.
"""

from collections.abc import Iterable
from copy import deepcopy
from typing import Any, NoReturn

import numpy as np
from gymnasium.spaces import Space, Tuple
from gymnasium.spaces.utils import flatdim, flatten, flatten_space, is_space_dtype_shape_equiv, unflatten
from gymnasium.vector.utils import batch_differing_spaces
from gymnasium.wrappers.utils import create_zero_array

from music.conversation import Conversation
from music.errors import InvalidInputError

__all__ = ["ConversationSpace", "ReplySpace", "is_encodable"]

_WORDS = "a about and answer as for here idea is it of one say the then you"


def _sentence(rng: np.random.Generator) -> str:
    """Return a few random words, to exercise an environment; they have no meaning."""
    return " ".join(rng.choice(_WORDS.split(), size=rng.integers(1, 13))).capitalize() + "."


class ReplySpace(Space[str]):
    """Any text of up to `max_chars` characters that is not blank and that UTF-8 can encode.

    Args:
        max_chars: At least 120, to hold the longest sample.
        seed: Seed of the samples.
    """

    def __init__(self, max_chars: int = 100_000, seed: int | np.random.Generator | None = None) -> None:
        self.max_chars = max_chars
        super().__init__(dtype=str, seed=seed)

    @property
    def is_np_flattenable(self) -> bool:
        """Text has no fixed-size array form."""
        return False

    def sample(self, mask: None = None, probability: None = None) -> str:
        """Return a random short sentence; `mask` and `probability` are ignored."""
        return _sentence(self.np_random)

    def contains(self, x: Any) -> bool:
        """Return whether `x` can be a reply."""
        return isinstance(x, str) and bool(x.strip()) and len(x) <= self.max_chars and is_encodable(x)

    def __eq__(self, other: object) -> bool:
        """Return whether the other is a reply space of the same length."""
        return isinstance(other, ReplySpace) and self.max_chars == other.max_chars

    def __repr__(self) -> str:
        """Return the constructor's call."""
        return f"ReplySpace({self.max_chars})"


class ConversationSpace(Space[Conversation]):
    """Conversations of at least one message. Running ones end with the user, finished ones with either side."""

    @property
    def is_np_flattenable(self) -> bool:
        """Conversations have no fixed-size array form."""
        return False

    def sample(self, mask: None = None, probability: None = None) -> Conversation:
        """Return a random conversation of one to three user messages; `mask` and `probability` are ignored."""
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
        """Return whether the other is a conversation space; all of them are equal."""
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


_NOTHING = {ReplySpace: "", ConversationSpace: Conversation()}
"""Fill the place of a text that has not come, as zeros do in arrays: `DelayObservation` and `FrameStackObservation`."""


def _refuse_array(space: Space[Any], *_: object) -> NoReturn:
    """Refuse a fixed-size form.

    Raises:
        InvalidInputError: Always.
    """
    raise InvalidInputError(
        f"expected a space with a fixed-size array form, got {space}: text has none. Leave this wrapper out, or encode "
        "observations first, for example with gymnasium.wrappers.TransformObservation and your tokenizer"
    )


for _kind in (ReplySpace, ConversationSpace):  # Gymnasium registers only its own spaces
    is_space_dtype_shape_equiv.register(_kind, lambda space, other: type(space) is type(other))
    batch_differing_spaces.register(
        _kind, lambda spaces: Tuple([deepcopy(space) for space in spaces], seed=deepcopy(spaces[0].np_random))
    )
    create_zero_array.register(_kind, lambda space: _NOTHING[type(space)])
    for _flat in (flatten, flatten_space, flatdim, unflatten):
        _flat.register(_kind, _refuse_array)
