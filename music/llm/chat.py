"""The vocabulary of chat completion: request, reply, the `ChatModel` protocol and its errors.

Every implementation and every wrapper (HTTP client, in-process model, journal, sandbox) is a `ChatModel`; they are
combined by composition. Expected ends of a reply are data (`ReplyOutcome`); what kept a reply from coming is an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from music.conversation import Message
from music.errors import MusicError

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
    """The model thought, and said nothing after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a model is asked to sample; what is None or empty is left to the endpoint.

    Attributes:
        temperature: Sampling temperature; 0 is greedy.
        top_p: Share of the probability that tokens are drawn from.
        max_tokens: Bound on one reply's tokens.
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
"""Sampling that leaves everything to the endpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One request for one assistant message.

    Attributes:
        messages: What the model sees, in order.
        seed: Sent to the endpoint, for those that sample reproducibly.
        sampling: How the model is asked to sample.
        json_schema: JSON schema that the reply's text is to follow, where the endpoint can be held to one; None for
            free text. Endpoints that cannot are asked without it, so a reply may be any text all the same.
        top_logprobs: How many alternatives to each token of the reply to ask for, where the endpoint has them; None
            for none.
        key: Identity of the request within its run, under which the journal keeps the reply; empty for none.
        route: Requests that share a route share a prefix, and go to the same replica: both sides of a pair, the
            candidates of one history; empty for no preference.
        payer: Admits each try, and pays for those that bring no reply; None for nobody. It is no part of what is asked.
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
    """One token of a reply, and what might have stood in its place.

    Attributes:
        token: Its text.
        alternatives: The likeliest tokens there, itself among them as a rule, each with its log-probability.
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
        prompt_tokens: As counted by the endpoint (0 if it does not say).
        completion_tokens: Likewise.
        cached_tokens: Of the prompt's tokens, those that the endpoint read from its cache; likewise.
        thinking: What the model thought before it spoke, which nobody in a conversation reads.
        cleaned: What was taken out of the text or made harmless in it, by kind: `end_mark`, `role_header`,
            `control_token`.
        logprobs: Of each token; empty unless the request asked for them and the endpoint has them.
        is_reused: It was paid for by an earlier run, and comes from a cache (`music.llm.cache`).
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
    """What one try used; the counts are as in `ChatReply`.

    Attributes:
        model: Name of the model that was asked; empty if it does not matter.
        is_estimate: The endpoint gave no counts, so these are a guess.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    model: str = ""
    is_estimate: bool = False


class Payer(Protocol):
    """Pays for a request's tries."""

    def admit(self, request: ChatRequest) -> None:
        """Let one more try be sent.

        Raises:
            MusicError: No more is to be sent.
        """
        ...

    async def pay(self, request: ChatRequest, usage: TryUsage) -> None:
        """Book a try that brought no reply and is paid for all the same; return once that is on record."""
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
        """How the endpoint was written by the user, for example `m@http://127.0.0.1:8000/v1`; holds no secret."""
        ...

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request.

        Raises:
            EndpointError: No usable reply came, after the bounded tries that the kind of failure allows.
        """
        ...

    async def aclose(self) -> None:
        """Release what the model holds; safe to call twice."""
        ...


class EndpointError(MusicError):
    """An endpoint gave no usable reply."""


class RequestRejectedError(EndpointError):
    """The endpoint refused the request itself (most 4xx); the same request again cannot help.

    Args:
        message: What was refused, and why.
        status: The HTTP status, where there was one.
        refused_field: The field of the request that the endpoint does not take, where it is that.
    """

    def __init__(self, message: str, status: int | None = None, refused_field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.refused_field = refused_field


class StoppedWaitingError(EndpointError):
    """The request was not sent: its caller stopped waiting for its turn."""


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
    """The body is not the JSON that was to come, of a chat completion for example."""
