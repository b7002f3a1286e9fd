"""`ScoringProtocol`: the requests, answers and errors of one path.

A protocol is stateless. `read` turns a request into a `Query`, `write` turns the results into the answer, and `refuse`
gives an error the shape that the protocol's clients expect. Scores are raw logits in every protocol. A conversation
without a score is an error of its own where the protocol has a place for one; otherwise it fails the request.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from music.conversation import Conversation
from music.errors import MusicError
from music.reward.encoded import EncodedConversation
from music.reward.tokens.contract import ContractError
from music.serving.items import INVALID, ItemError
from music.serving.pending import Answer, Encode
from music.serving.served_model import ServedModel

__all__ = [
    "ProtocolModel",
    "Query",
    "RefusedError",
    "ScoringProtocol",
    "encode_conversations",
    "parse_conversation",
    "require_scores",
]

logger = logging.getLogger(__name__)


class RefusedError(MusicError):
    """A request that gets an error instead of scores.

    Attributes:
        status: The HTTP status.
        code: A short name of the reason.
        headers: Further headers of the response.
    """

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, code, message, headers)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}

    def __str__(self) -> str:
        """Return the message."""
        return self.message


class ProtocolModel(BaseModel):
    """A request or a response of a protocol. Unknown fields are ignored, as clients send many."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True)
class Query:
    """What a request asks for.

    Attributes:
        size: Number of conversations.
        encode: Encodes them.
        body: The request, for `ScoringProtocol.write`.
    """

    size: int
    encode: Encode
    body: Any = field(default=None)


class ScoringProtocol(ABC):
    """The requests, answers and errors of one path.

    Attributes:
        path: The path of its POST requests.
        summary: What it is for, in one line.
        request: The model of a request's body.
        response: The model of an answer's body, for the API's description.
    """

    path: ClassVar[str]
    summary: ClassVar[str]
    request: ClassVar[type[BaseModel]]
    response: ClassVar[Any]

    def read(self, body: bytes) -> Query:
        """Read a request.

        Raises:
            RefusedError: The body is not a request of this protocol.
        """
        try:
            parsed = self.request.model_validate_json(body)
        except ValidationError as error:
            raise RefusedError(400, "invalid_request", _in_one_line(error)) from None
        return self.query(parsed)

    @abstractmethod
    def query(self, body: Any) -> Query:
        """Return what a request asks for; raises as `read`."""

    @abstractmethod
    def write(self, query: Query, answer: Answer) -> Any:
        """Return the body of an answer, to be written as JSON.

        Raises:
            RefusedError: A conversation has no score, and the protocol has no place for its error.
        """

    @abstractmethod
    def refuse(self, error: RefusedError) -> Any:
        """Return the body of an error, to be written as JSON."""


def parse_conversation(messages: Sequence[Mapping[str, Any]]) -> Conversation | ItemError:
    """Return messages as a conversation, or why they are none."""
    try:
        return Conversation.from_messages(messages)
    except ValidationError as error:
        return ItemError(INVALID, _in_one_line(error))


def encode_conversations(
    served: ServedModel, conversations: Sequence[Conversation | ItemError], *, per_turn: bool = False
) -> list[EncodedConversation | ItemError]:
    """Encode conversations for a model; errors stay in their places."""
    valid = [each for each in conversations if isinstance(each, Conversation)]
    try:
        encoded = iter(served.model.encode(valid, per_turn=per_turn))
    except ContractError as error:
        if len(conversations) == 1:
            return [ItemError("contract", str(error))]
        return [one for each in conversations for one in encode_conversations(served, [each], per_turn=per_turn)]
    return [each if isinstance(each, ItemError) else next(encoded) for each in conversations]


def require_scores(answer: Answer) -> list[float]:
    """Return the scores of all conversations, for a protocol that has no place for the errors of single ones.

    A conversation without a score gets the server's floor, if it has one and is not to blame itself.

    Raises:
        RefusedError: One of them has no score.
    """
    floor = answer.served.floor
    for index, result in enumerate(answer.results):
        if (error := result.error) is not None and (floor is None or error.is_of_server):
            name = f"conversation {index}: " if len(answer.results) > 1 else ""
            raise RefusedError(503 if error.is_of_server else 400, error.code, f"{name}{error.message}")
    codes = [result.error.code for result in answer.results if result.error is not None]
    if codes:
        logger.warning("%d of %d conversations got the floor: %s", len(codes), len(answer.results), ", ".join(codes))
    scores = [floor if result.score is None else result.score for result in answer.results]
    return [score for score in scores if score is not None]


def _in_one_line(error: ValidationError) -> str:
    """Return the first fault of a body and where it is, without the body's text."""
    first, *others = error.errors(include_url=False, include_input=False, include_context=False)
    place, message = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    more = f" (and {len(others)} more)" if others else ""
    return f"{place}: {message}{more}" if place else f"{message}{more}"
