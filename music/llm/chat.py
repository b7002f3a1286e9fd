"""The types of chat completion: request, reply, the `ChatModel` protocol and its errors.

Every implementation and every wrapper (HTTP client, in-process model, journal, sandbox) is a `ChatModel`; they are
combined by composition. How a reply ended is data (`ReplyOutcome`). If no reply came, an error is raised.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from music.conversation import Message
from music.errors import MusicError
from music.pairs import Usage

__all__ = [
    "AS_THE_ENDPOINT_DOES",
    "BodyTruncatedError",
    "ChatModel",
    "ChatReply",
    "ChatRequest",
    "EndpointError",
    "EndpointTimeoutError",
    "EndpointUnavailableError",
    "EndpointUnreachableError",
    "MalformedReplyError",
    "Payer",
    "RateLimitedError",
    "ReplyOutcome",
    "RequestRejectedError",
    "Sampling",
    "StoppedWaitingError",
    "TokenLogprobs",
    "TryUsage",
]


class ReplyOutcome(StrEnum):
    """How a reply ended."""

    COMPLETE = "complete"
    EMPTY = "empty"
    """No text."""
    LENGTH = "length"
    """Cut at the token limit, with or without text."""
    CONTENT_FILTER = "content_filter"
    """Withheld or stopped by the endpoint's filter, or refused in a field of its own."""
    TOOL_CALLS = "tool_calls"
    """The model called a tool instead of answering."""
    THOUGHT = "thought"
    """Thinking, and no answer after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Sampling settings; the endpoint decides what is None or empty.

    Attributes:
        temperature: Sampling temperature; 0 is greedy.
        top_p: Share of the probability mass that tokens are drawn from.
        max_tokens: Most tokens of one reply.
        stop: Texts that end a reply.
        sends_seed: Whether the request's seed is sent.
        extra_body: Further fields of the request's body, by name, for servers that know them.
    """

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    sends_seed: bool = True
    extra_body: Mapping[str, Any] = field(default_factory=dict, hash=False)


AS_THE_ENDPOINT_DOES = Sampling()
"""Sampling with the endpoint's own settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One request for one assistant message.

    Attributes:
        messages: What the model sees, in order.
        seed: Seed for endpoints that sample reproducibly.
        sampling: Sampling settings.
        json_schema: JSON schema for the reply's text; None for free text. Endpoints that cannot enforce a schema are
            asked without it, so the reply may still be any text.
        top_logprobs: Number of alternatives to ask for at each token of the reply; None for none. Not every endpoint
            has them.
        key: Identity of the request within its run, under which the journal stores the reply; empty for none.
        route: Requests that share a prefix have the same route and go to the same replica: both sides of a pair, the
            candidates of one history. Empty for no preference.
        payer: Admits each try, and pays for tries without a reply; None for nobody. Not part of what is asked.
    """

    messages: tuple[Message, ...]
    seed: int | None = None
    sampling: Sampling = AS_THE_ENDPOINT_DOES
    json_schema: Mapping[str, Any] | None = field(default=None, hash=False)
    top_logprobs: int | None = None
    key: str = ""
    route: str = ""
    payer: "Payer | None" = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """One token of a reply, and its alternatives.

    Attributes:
        token: Its text.
        alternatives: The likeliest tokens at its place, usually including itself, each with its log-probability.
    """

    token: str
    alternatives: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatReply:
    """One reply.

    Attributes:
        text: The message, without `thinking`; empty if `outcome` is EMPTY or THOUGHT.
        outcome: How the reply ended.
        model: Name of the model that answered.
        prompt_tokens: The endpoint's count; 0 if it reports none.
        completion_tokens: Likewise.
        cached_tokens: Prompt tokens that the endpoint read from its cache; likewise.
        thinking: The model's thinking before its answer, which is not part of the conversation.
        cleaned: Kinds of marks that were removed from the text or made harmless: `end_mark`, `role_header`,
            `control_token`.
        logprobs: Of each token; empty unless the request asked for them and the endpoint has them.
        is_reused: Whether an earlier run paid for it and it comes from a cache (`music.llm.cache`).
    """

    text: str
    outcome: ReplyOutcome
    model: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    thinking: str = ""
    cleaned: tuple[str, ...] = ()
    logprobs: tuple[TokenLogprobs, ...] = ()
    is_reused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TryUsage:
    """The tokens that one try used; the counts are as in `ChatReply`.

    Attributes:
        model: Name of the model that was asked; empty if it does not matter.
        is_estimate: Whether the counts are an estimate because the endpoint reported none.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    model: str = ""
    is_estimate: bool = False


class Payer(Protocol):
    """Pays for a request's tries."""

    def admit(self, request: ChatRequest) -> None:
        """Admit one more try.

        Raises:
            MusicError: No more tries may be sent.
        """
        ...

    async def pay(self, request: ChatRequest, usage: TryUsage) -> None:
        """Record a paid try that brought no reply; return once it is stored."""
        ...


class ChatModel(Protocol):
    """Anything that answers chat requests.

    Example:
        >>> import asyncio
        >>> from music.conversation import Message
        >>> from music.llm import ChatRequest, load_model
        >>> request = ChatRequest(messages=(Message(role="user", content="Hi!"),), seed=0)
        >>> reply = asyncio.run(load_model("sandbox").complete(request))
        >>> reply.outcome
        <ReplyOutcome.COMPLETE: 'complete'>
    """

    @property
    def name(self) -> str:
        """The endpoint as the user wrote it, for example `m@http://127.0.0.1:8000/v1`; it contains no secret."""
        ...

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request.

        Raises:
            EndpointError: No usable reply came in the tries that this kind of failure allows.
        """
        ...

    async def aclose(self) -> None:
        """Release the model's resources; safe to call twice."""
        ...


class EndpointError(MusicError):
    """An endpoint gave no usable reply.

    Attributes:
        spent: The usage that was paid for nevertheless, where the caller adds it up.
    """

    spent: Usage = Usage()


class RequestRejectedError(EndpointError):
    """The endpoint refused the request itself (most 4xx); the same request again cannot help.

    Args:
        message: What was refused, and why.
        status: The HTTP status, if there was one.
        refused_field: The field that the endpoint does not accept, if that was the reason.
    """

    def __init__(self, message: str, status: int | None = None, refused_field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.refused_field = refused_field


class StoppedWaitingError(EndpointError):
    """The request was not sent because its caller stopped waiting."""


class RateLimitedError(EndpointError):
    """The endpoint asked for fewer requests (429)."""


class EndpointUnavailableError(EndpointError, ConnectionError):
    """No connection, a broken connection, or a 5xx."""


class EndpointUnreachableError(EndpointUnavailableError):
    """No connection could be made."""


class EndpointTimeoutError(EndpointError, TimeoutError):
    """No reply within the time allowed (or a 408)."""


class BodyTruncatedError(EndpointUnavailableError):
    """The body ended before its announced length."""


class MalformedReplyError(EndpointError):
    """The body is not the expected JSON, for example that of a chat completion."""
