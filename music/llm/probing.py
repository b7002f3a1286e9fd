"""A small request to an endpoint before a run begins: does it answer, accept the key and know the model?

It finds a wrong port, key or model name in seconds, before many long requests fail. Temporary failures do not stop a
run: a 429, and a server that is slow to answer.
"""

import asyncio
from dataclasses import replace

from music.conversation import Message
from music.llm.chat import (
    ChatReply,
    ChatRequest,
    EndpointError,
    EndpointTimeoutError,
    EndpointUnreachableError,
    MalformedReplyError,
    RateLimitedError,
    RequestRejectedError,
    Sampling,
)
from music.llm.openai import OpenAIChatModel
from music.llm.retry import RetryPolicy
from music.names import did_you_mean

__all__ = ["ProbedModel", "explain_failure", "passes_by_itself", "probe"]

_QUESTION = (Message(role="user", content="Reply with the word OK and nothing else."),)
_MAX_TOKENS = 16
PROBE_SECONDS = 20.0
"""Seconds that an endpoint may take to answer."""
MAX_SHOWN_MODELS = 8

_QUICKLY = RetryPolicy(max_tries=3, max_rate_limited=1, backoff=0.3, max_retry_after=2.0)
_URL_HINT = " (is the base URL right? It usually ends in /v1)"
"""The end of errors with status 404; it does not apply if the server lists its models."""
_UNBOUNDED = 400, 422
"""Statuses of servers that refuse such a small limit of tokens, or the limit's name."""


def probe(sampling: Sampling, key: str = "") -> ChatRequest:
    """Return the request, with the options of the later requests: a server may refuse one of them.

    Args:
        sampling: Sampling of the later requests.
        key: Key under which a journal stores the reply.
    """
    bound = min(sampling.max_tokens or _MAX_TOKENS, _MAX_TOKENS)
    return ChatRequest(messages=_QUESTION, seed=0, sampling=replace(sampling, max_tokens=bound), key=key)


class ProbedModel:
    """A `ChatModel` over one endpoint that fails within seconds, after the endpoint's patience if it has any.

    The caller closes the endpoint.
    """

    def __init__(self, endpoint: OpenAIChatModel) -> None:
        self._endpoint = endpoint

    @property
    def name(self) -> str:
        """The endpoint's name."""
        return self._endpoint.name

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request; without its limit of tokens if the endpoint refuses that.

        Raises:
            EndpointError: No reply came within a few quick tries.
        """
        try:
            async with asyncio.timeout(PROBE_SECONDS + self._endpoint.retry.patience):
                return await self._ask(request)
        except TimeoutError as error:
            if isinstance(error, EndpointError):
                raise
            raise EndpointTimeoutError(f"{self.name}: no reply within {PROBE_SECONDS:g} s") from None

    async def aclose(self) -> None:
        """Do nothing: the caller closes the endpoint."""

    async def _ask(self, request: ChatRequest) -> ChatReply:
        own = self._endpoint.retry
        update = {"patience": own.patience, "max_tries": min(own.max_tries, _QUICKLY.max_tries)}
        policy = _QUICKLY.model_copy(update=update)
        try:
            return await self._endpoint.complete_under(policy, request)
        except RequestRejectedError as error:
            if error.status not in _UNBOUNDED:
                raise
        unbounded = replace(request.sampling, max_tokens=None)
        return await self._endpoint.complete_under(policy, replace(request, sampling=unbounded))


def passes_by_itself(error: EndpointError) -> bool:
    """Whether a failure is temporary, so that a run may begin: the endpoint is busy or slow."""
    return isinstance(error, RateLimitedError | EndpointTimeoutError)


async def explain_failure(endpoint: OpenAIChatModel, error: EndpointError) -> str:
    """Return what is wrong with an endpoint, and what to do."""
    if isinstance(error, RequestRejectedError):
        known = await endpoint.list_models()
        if known and endpoint.model not in known:
            said = str(error).removesuffix(_URL_HINT).removesuffix(".")
            names = ", ".join(known[:MAX_SHOWN_MODELS]) + (", ..." if len(known) > MAX_SHOWN_MODELS else "")
            return f"{said}; the server has {names}{did_you_mean(endpoint.model, known)}"
        if error.status in (401, 403) and "no key was sent" not in str(error):
            return f"{error}; the key was refused: see MUSIC_API_KEY, or the variable of this host"
        return str(error)
    if isinstance(error, MalformedReplyError):
        return f"{error}; is the base URL that of an OpenAI-compatible server? It usually ends in /v1"
    if isinstance(error, EndpointUnreachableError):
        return f"{error}; is the server running, and is this its address?"
    return f"{error}; the server is there but fails: see its log"
