"""The client of OpenAI-compatible servers: `POST BASE_URL/chat/completions` over aiohttp.

What came back is read here into a `ChatReply`; the request itself and its errors are `music.llm.posting`'s, when to try
again is `music.llm.retry`'s, how fast is `music.llm.pacing`'s.
"""

import asyncio
import time
from dataclasses import replace

import orjson

from music.llm.chat import ChatReply, ChatRequest, EndpointError, MalformedReplyError
from music.llm.completion import read_completion
from music.llm.pacing import Pacer, PacingSettings
from music.llm.posting import JsonEndpoint, PostSettings
from music.llm.retry import FailedTryError, RetryPolicy, Sleep, call_with_retries

__all__ = ["ClientSettings", "OpenAIChatModel"]

_HINTS = {404: "is the base URL right? It usually ends in /v1", 413: "the conversation may be too long"}


class ClientSettings(PostSettings):
    """Settings of the HTTP client."""

    retry: RetryPolicy = RetryPolicy()
    """When a failed try is repeated."""
    pacing: PacingSettings = PacingSettings()
    """How fast requests are sent."""


class OpenAIChatModel:
    """A `ChatModel` behind an OpenAI-compatible endpoint.

    A reply of blank content is EMPTY, whatever its finish reason (a model that only thought, or called a tool); one
    with a `refusal` in place of content is CONTENT_FILTER with an empty text. Characters that UTF-8 cannot encode or
    that other programs stumble over (lone surrogates, NUL) are replaced by U+FFFD. Redirects are not followed.

    Args:
        model: Name of the model, as the server knows it.
        base_url: For example `https://api.openai.com/v1`; keys come from the environment (`music.llm.keys`).
        settings: Time-outs, bounds and retries.
        sleep: What waits between tries.

    Raises:
        InvalidInputError: The URL is not an http(s) URL without user, password, query and fragment.
    """

    def __init__(
        self, model: str, base_url: str, settings: ClientSettings | None = None, *, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._model = model
        self._name = f"{model}@{base_url}"
        self._settings = settings or ClientSettings()
        self._sleep = sleep
        self.pacer = Pacer(self._settings.pacing)
        self._endpoint = JsonEndpoint(
            self._name, base_url, "chat/completions", self._settings, hints=_HINTS, learn=self.pacer.learn
        )
        # OpenAI's newer models refuse the name that every other server knows.
        is_openai = self._endpoint.url.host == "api.openai.com"
        self._max_tokens_field = "max_completion_tokens" if is_openai else "max_tokens"

    def __repr__(self) -> str:
        return f"OpenAIChatModel({self._name!r})"

    @property
    def name(self) -> str:
        """The endpoint, as `MODEL@BASE_URL`."""
        return self._name

    @property
    def model(self) -> str:
        """The model, as the server knows it."""
        return self._model

    @property
    def endpoints(self) -> tuple["OpenAIChatModel", ...]:
        """What displays show the pace of: this model alone."""
        return (self,)

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request; see `music.llm.chat.ChatModel`."""
        start = time.perf_counter()
        reply = await call_with_retries(self.try_once, request, self._settings.retry, self._sleep)
        return replace(reply, latency=time.perf_counter() - start)

    async def try_once(self, request: ChatRequest, again: bool = False) -> ChatReply:
        """Send a request once, when the pacer admits it.

        Args:
            request: The request.
            again: It has been tried before, and goes before those that have not.

        Raises:
            FailedTryError: Another try may succeed.
            EndpointError: None will.
        """
        tokens = self.pacer.estimate(request)
        ticket = await self.pacer.enter(tokens, again=again)
        end: ChatReply | BaseException | None = None
        try:
            end = await self._send(self._encode(request))
            return end
        except EndpointError as error:
            end = error
            raise
        finally:
            is_held_back = self.pacer.leave(ticket, end, tokens)
            if isinstance(end, FailedTryError):
                end.at_once = is_held_back

    async def list_models(self) -> tuple[str, ...]:
        """Return the names of the models that the server lists at `GET BASE_URL/models`; none if it lists none."""
        answer = await self._endpoint.get("models")
        try:
            return tuple(str(model["id"]) for model in orjson.loads(answer)["data"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return ()

    async def aclose(self) -> None:
        """Leave the pool of connections, which closes with its last model."""
        await self._endpoint.aclose()

    def _encode(self, request: ChatRequest) -> bytes:
        """Return the body of a request."""
        messages = [{"role": m.role, "content": m.content} for m in request.messages]
        fields: dict[str, object] = {"model": self._model, "messages": messages}
        sampling = request.sampling
        if request.seed is not None and sampling.sends_seed:
            fields["seed"] = request.seed
        if sampling.temperature is not None:
            fields["temperature"] = sampling.temperature
        if sampling.max_tokens is not None:
            fields[self._max_tokens_field] = sampling.max_tokens
        if request.top_logprobs is not None:
            fields |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        return self._endpoint.encode(fields)

    async def _send(self, body: bytes) -> ChatReply:
        """Send a body and read the answer, or raise as `try_once` does."""
        answer = await self._endpoint.post(body)
        try:
            return read_completion(answer, self._model, self._endpoint.redact)
        except MalformedReplyError as error:
            raise FailedTryError(MalformedReplyError(f"{self._name}: {error}")) from None
