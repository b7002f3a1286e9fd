"""`PendingRequest`: a request that waits for the results of its conversations; and why it may get none."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from music.errors import MusicError
from music.reward.encoded import EncodedConversation
from music.serving.items import ItemError, ItemResult
from music.serving.served_model import ServedModel

__all__ = ["Answer", "DrainingError", "Encode", "PendingRequest", "QueueFullError", "TooManyTokensError"]

Encode = Callable[[ServedModel], Sequence[EncodedConversation | ItemError]]
"""Turns the conversations of a request into what the model scores; it runs on the tokenizing thread."""


class QueueFullError(MusicError):
    """Too many conversations wait.

    Attributes:
        retry_after: Seconds after which there is probably room.
    """

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message, retry_after)
        self.retry_after = retry_after

    def __str__(self) -> str:
        """Return the message."""
        return str(self.args[0])


class DrainingError(MusicError):
    """The engine takes no more requests, because it ends."""


class TooManyTokensError(MusicError):
    """The conversations of one request have too many tokens."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The results of a request, and the model that gave them."""

    served: ServedModel
    results: Sequence[ItemResult]


class PendingRequest:
    """A request that waits for its results.

    Args:
        encode: Encodes its conversations.
        size: Their number.

    Attributes:
        answer: The answer, or an error.
    """

    def __init__(self, encode: Encode, size: int) -> None:
        self.encode = encode
        self.size = size
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._results: dict[int, ItemResult] = {}

    @property
    def is_open(self) -> bool:
        """Whether somebody still waits for the answer."""
        return not self.answer.done()

    def add(self, served: ServedModel, index: int, result: ItemResult) -> None:
        """Add the result of a conversation; the last one answers the request."""
        self._results[index] = result
        if len(self._results) == self.size and self.is_open:
            self.answer.set_result(Answer(served, [self._results[place] for place in range(self.size)]))

    def fail(self, error: Exception) -> None:
        """Answer the request with an error."""
        if self.is_open:
            self.answer.set_exception(error)
