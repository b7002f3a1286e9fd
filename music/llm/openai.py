"""The client of OpenAI-compatible servers: `POST BASE_URL/chat/completions` over aiohttp.

What came back is read here into a `ChatReply` or one of the typed errors of `music.llm.chat`; when to try again is
`music.llm.retry`'s, how fast is `music.llm.pacing`'s, connections are `music.llm.http`'s, keys are `music.llm.keys`'.
"""

import asyncio
import time
from dataclasses import replace

import aiohttp
import orjson
from pydantic import BaseModel, ConfigDict, Field
from yarl import URL

from music.errors import InvalidInputError
from music.llm.chat import (
    BodyTruncatedError,
    ChatReply,
    ChatRequest,
    EndpointError,
    EndpointTimeoutError,
    EndpointUnavailableError,
    EndpointUnreachableError,
    MalformedReplyError,
    RateLimitedError,
    RequestRejectedError,
)
from music.llm.completion import error_excerpt, read_completion
from music.llm.http import join_pool, leave_pool
from music.llm.keys import ApiKey, key_variable
from music.llm.pacing import Pacer, PacingSettings
from music.llm.retry import FailedTryError, RetryPolicy, Sleep, call_with_retries, read_retry_after

__all__ = ["ClientSettings", "OpenAIChatModel"]

_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "music-rm"}
_HINTS = {404: "is the base URL right? It usually ends in /v1", 413: "the conversation may be too long"}


class ClientSettings(BaseModel):
    """Settings of the HTTP client."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timeout: float = Field(default=300.0, gt=0)
    """Seconds that one try may take in all."""
    connect_timeout: float = Field(default=15.0, gt=0)
    """Seconds that connecting may take."""
    read_timeout: float | None = Field(default=None, gt=0)
    """Seconds of silence after which a try is given up; None for `timeout` alone. Replies are not streamed: the server
    is silent while it generates."""
    max_body_bytes: int = Field(default=2 * 2**20, gt=0)
    """Bound on the size of a reply's body."""
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
        url = _read_base_url(base_url)
        self._model = model
        self._name = f"{model}@{base_url}"
        self._settings = settings or ClientSettings()
        self._sleep = sleep
        self._url = url / "chat/completions"
        self._key = ApiKey.for_url(url)
        # OpenAI's newer models refuse the name that every other server knows.
        self._max_tokens_field = "max_completion_tokens" if url.host == "api.openai.com" else "max_tokens"
        self._headers = _HEADERS | self._key.header()
        self._timeout = aiohttp.ClientTimeout(
            total=self._settings.timeout,
            connect=self._settings.connect_timeout,
            sock_read=self._settings.read_timeout,
        )
        self.pacer = Pacer(self._settings.pacing)

    def __repr__(self) -> str:
        return f"OpenAIChatModel({self._name!r})"

    @property
    def name(self) -> str:
        """The endpoint, as `MODEL@BASE_URL`."""
        return self._name

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

    async def aclose(self) -> None:
        """Leave the pool of connections, which closes with its last model."""
        await leave_pool(self)

    def _encode(self, request: ChatRequest) -> bytes:
        """Return the body of a request."""
        messages = [{"role": m.role, "content": m.content} for m in request.messages]
        fields: dict[str, object] = {"model": self._model, "messages": messages}
        if request.seed is not None:
            fields["seed"] = request.seed
        if request.temperature is not None:
            fields["temperature"] = request.temperature
        if request.max_tokens is not None:
            fields[self._max_tokens_field] = request.max_tokens
        try:
            body = orjson.dumps(fields)
        except TypeError as error:
            raise RequestRejectedError(f"{self._name}: the request cannot be written as JSON: {error}") from None
        return bytes(memoryview(body))  # orjson leaves up to half of its buffer unused, and bodies wait for long.

    async def _send(self, body: bytes) -> ChatReply:
        """Send a body and read the answer, or raise as `try_once` does."""
        try:
            status, retry_after, answer = await self._post(body)
        except TimeoutError as error:
            raise FailedTryError(EndpointTimeoutError(f"{self._name}: {self._timeout_reason(error)}")) from None
        except aiohttp.ClientPayloadError:
            raise FailedTryError(BodyTruncatedError(f"{self._name}: the reply's body broke off")) from None
        except (aiohttp.ClientError, OSError) as error:
            reason = self._key.redact(f"{type(error).__name__}: {error}")
            is_refused = isinstance(error, aiohttp.ClientConnectorError)
            error_type = EndpointUnreachableError if is_refused else EndpointUnavailableError
            raise FailedTryError(error_type(f"{self._name}: no connection ({reason})")) from None
        if status != 200:
            raise self._refusal(status, read_retry_after(retry_after), answer)
        try:
            return read_completion(answer, self._model, self._key.redact)
        except MalformedReplyError as error:
            raise FailedTryError(MalformedReplyError(f"{self._name}: {error}")) from None

    async def _post(self, body: bytes) -> tuple[int, str | None, bytes]:
        """Return status, Retry-After header and body of the answer."""
        start = time.monotonic()
        session = join_pool(self)
        async with session.post(
            self._url, data=body, headers=self._headers, timeout=self._timeout, allow_redirects=False
        ) as response:
            self.pacer.learn(response.headers, time.monotonic() - start)
            return response.status, response.headers.get("Retry-After"), await self._read_bounded(response)

    def _timeout_reason(self, error: TimeoutError) -> str:
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return f"no connection within {self._settings.connect_timeout:g} s"
        if isinstance(error, aiohttp.SocketTimeoutError):
            return f"silent for {self._settings.read_timeout:g} s"
        return f"no reply within {self._settings.timeout:g} s"

    async def _read_bounded(self, response: aiohttp.ClientResponse) -> bytes:
        chunks, size = [], 0
        while chunk := await response.content.readany():
            chunks.append(chunk)
            size += len(chunk)
            if size > self._settings.max_body_bytes:
                limit = self._settings.max_body_bytes
                raise MalformedReplyError(f"{self._name}: the reply's body is larger than {limit} bytes")
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _refusal(self, status: int, retry_after: float | None, answer: bytes) -> EndpointError:
        """Return the error for a status other than 200."""
        said = f"{self._name}: HTTP {status}: {error_excerpt(answer, self._key.redact) or 'no message'}"
        if status == 429 and b'"insufficient_quota"' in answer:
            return RequestRejectedError(f"{said} (the account's quota is used up; waiting does not bring it back)")
        if status == 429:
            return FailedTryError(RateLimitedError(said), retry_after)
        if status == 408:
            return FailedTryError(EndpointTimeoutError(said), retry_after)
        if status >= 500:
            return FailedTryError(EndpointUnavailableError(said), retry_after)
        hint = _HINTS.get(status)
        if status in (401, 403) and not self._key:
            hint = f"no key was sent; set {key_variable(self._url)} to the key for this host"
        elif 300 <= status < 400:
            hint = "redirects are not followed; give the URL that the server redirects to"
        return RequestRejectedError(f"{said} ({hint})" if hint else said)


def _read_base_url(base_url: str) -> URL:
    """Validate a base URL; what might be a secret in it is not repeated in the error."""
    try:
        url = URL(base_url)
        is_http = url.scheme in ("http", "https") and bool(url.host)
    except ValueError:
        is_http = False
    if not is_http:
        raise InvalidInputError("base URL: expected http://HOST[:PORT]/PATH or https://..., for example with /v1")
    if url.user or url.password or url.query_string or url.fragment:
        raise InvalidInputError(
            f"base URL on host {url.host}: expected no user, password, query or fragment; "
            f"give the key in the environment variable {key_variable(url)} or MUSIC_API_KEY"
        )
    return url
