"""`Wire`: one server's protocol, from conversations to scores in one request."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from music.conversation import Conversation
from music.llm.chat import EndpointError, MalformedReplyError
from music.llm.http import JsonEndpoint
from music.llm.retry import FailedTryError
from music.llm.server_errors import error_excerpt
from music.reward.remote.settings import RemoteRewardSettings
from music.reward.tokens.contract import Scored

__all__ = ["Outcome", "Reply", "ServerModel", "Wire"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one conversation.

    Attributes:
        scored: Its score, or why it has none.
        why: What the server says about a problem.
    """

    scored: Scored
    why: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one request.

    Attributes:
        outcomes: One for each conversation, in their order.
        fingerprint: Hash of what the scores depend on; empty if the server tells none.
    """

    outcomes: list[Outcome]
    fingerprint: str = ""


class ServerModel(BaseModel):
    """The fields that are read of a server's answer; others are ignored. NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


Read = TypeVar("Read", bound=ServerModel)


class Wire(ABC):
    """How one server is asked.

    Args:
        name: The server's name in errors.
        model: The model's name on the server.
        base_url: The URL before `path`.
        settings: Limits on requests.
        slots: Limits the requests in flight.
        hints: Text added to the error of an HTTP status.
    """

    path: ClassVar[str]
    """The path of requests."""
    max_batch: ClassVar[int | None] = None
    """Most conversations of a request; None for any number."""
    has_turns: ClassVar[bool] = False
    """Whether one request gives the rewards after all turns."""
    is_raw: ClassVar[bool] = False
    """Whether the protocol guarantees raw rewards."""
    can_activate: ClassVar[bool] = False
    """Whether scores after an activation can be asked for."""

    def __init__(
        self,
        name: str,
        model: str,
        base_url: str,
        settings: RemoteRewardSettings,
        slots: asyncio.Semaphore,
        hints: Mapping[int, str],
    ) -> None:
        self.name = name
        self.model = model
        self._slots = slots
        self._endpoint = JsonEndpoint(name, base_url, self.path, settings, hints=hints)

    @abstractmethod
    async def ask(
        self, conversations: Sequence[Conversation], *, per_turn: bool = False, activated: bool = False
    ) -> Reply:
        """Score conversations, each of which ends with the assistant, in one request.

        Args:
            conversations: At most `max_batch`.
            per_turn: Whether to ask for the rewards after each turn too; only if `has_turns`.
            activated: Whether to ask for scores after an activation; only if `can_activate`.

        Raises:
            FailedTryError: The try failed; another one may succeed.
            EndpointError: The try failed, and every other one would.
        """

    async def aclose(self) -> None:
        """Leave the pool of connections."""
        await self._endpoint.aclose()

    async def post(self, fields: Mapping[str, object]) -> bytes:
        """Send a request when there is a slot for it, and return the answer's body."""
        async with self._slots:
            return await self._endpoint.post(self._endpoint.encode(fields))

    def read(self, kind: type[Read], answer: bytes, expected: str) -> Read:
        """Read an answer.

        Raises:
            FailedTryError: It is not of this kind.
        """
        try:
            return kind.model_validate_json(answer)
        except ValidationError:
            raise self.malformed(expected, answer) from None

    def malformed(self, expected: str, answer: bytes) -> FailedTryError:
        """Return the error for an answer of another kind than expected."""
        excerpt = error_excerpt(answer, self._endpoint.redact)
        return FailedTryError(MalformedReplyError(f"{self.name}: expected {expected}, got: {excerpt}"))

    def one_reward(self, values: Sequence[float], num_classes: int = 1) -> float:
        """Return the reward in a list of one.

        Raises:
            MalformedReplyError: There is not exactly one value and one class.
        """
        if num_classes != 1 or len(values) != 1:
            raise MalformedReplyError(
                f"{self.name}: expected one reward (num_classes 1), got {len(values)} of {num_classes} "
                "classes: serve a reward model with one label"
            )
        return values[0]

    def failed(self, message: str, kind: type[EndpointError]) -> FailedTryError:
        """Return the error for a failure that another try may not meet."""
        return FailedTryError(kind(f"{self.name}: {message}"))
