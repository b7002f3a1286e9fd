"""`JsonEndpoint`: one URL that takes JSON by POST, for every client of a server.

Only a body that came whole with the status 200 is returned; all else is one of the typed errors of `music.llm.chat`, in
a `FailedTryError` if another try may succeed. Connections are `music.llm.http`'s, keys are `music.llm.keys`'.
"""

import time
from collections.abc import Callable, Mapping

import aiohttp
import orjson
from pydantic import BaseModel, ConfigDict, Field
from yarl import URL

from music.errors import InvalidInputError
from music.llm.chat import (
    BodyTruncatedError,
    EndpointError,
    EndpointTimeoutError,
    EndpointUnavailableError,
    EndpointUnreachableError,
    MalformedReplyError,
    RateLimitedError,
    RequestRejectedError,
)
from music.llm.completion import error_excerpt
from music.llm.http import join_pool, leave_pool
from music.llm.keys import ApiKey, key_variable
from music.llm.retry import FailedTryError, read_retry_after

__all__ = ["JsonEndpoint", "PostSettings"]

_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "music-rm"}
_GET_SECONDS = 5.0


class PostSettings(BaseModel):
    """Bounds on one request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timeout: float = Field(default=300.0, gt=0)
    """Seconds that one try may take in all."""
    connect_timeout: float = Field(default=15.0, gt=0)
    """Seconds that connecting may take."""
    read_timeout: float | None = Field(default=None, gt=0)
    """Seconds of silence after which a try is given up; None for `timeout` alone. Replies are not streamed: the server
    is silent while it works."""
    max_body_bytes: int = Field(default=2 * 2**20, gt=0)
    """Bound on the size of a reply's body."""


class JsonEndpoint:
    """A URL that takes JSON by POST. Redirects are not followed.

    Args:
        name: What errors call it.
        base_url: For example `http://127.0.0.1:8000/v1`; the key for its host comes from the environment.
        path: Under the base URL.
        settings: Time-outs and bounds.
        hints: What is added to the error of an HTTP status.
        learn: Told the headers of every answer, and the seconds since its request was sent.

    Raises:
        InvalidInputError: The base URL is not an http(s) URL without user, password, query and fragment.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        path: str,
        settings: PostSettings,
        *,
        hints: Mapping[int, str],
        learn: Callable[[Mapping[str, str], float], None] | None = None,
    ) -> None:
        self._base_url = _read_base_url(base_url)
        self.url = self._base_url / path
        self._name = name
        self._settings = settings
        self._hints = hints
        self._learn = learn
        self._key = ApiKey.for_url(self.url)
        self._headers = _HEADERS | self._key.header()
        self._timeout = aiohttp.ClientTimeout(
            total=settings.timeout, connect=settings.connect_timeout, sock_read=settings.read_timeout
        )

    def redact(self, text: str) -> str:
        """Return a text without the key, should the server have echoed it."""
        return self._key.redact(text)

    def encode(self, fields: Mapping[str, object]) -> bytes:
        """Return the body that says these fields.

        Raises:
            RequestRejectedError: They cannot be written as JSON.
        """
        try:
            body = orjson.dumps(fields)
        except TypeError as error:
            raise RequestRejectedError(f"{self._name}: the request cannot be written as JSON: {error}") from None
        return bytes(memoryview(body))  # orjson leaves up to half of its buffer unused, and bodies wait for long.

    async def post(self, body: bytes) -> bytes:
        """Send a body and return the answer's.

        Raises:
            FailedTryError: Another try may succeed.
            EndpointError: None will.
        """
        try:
            status, retry_after, answer = await self._exchange(body)
        except TimeoutError as error:
            raise FailedTryError(EndpointTimeoutError(f"{self._name}: {self._timeout_reason(error)}")) from None
        except aiohttp.ClientPayloadError:
            raise FailedTryError(BodyTruncatedError(f"{self._name}: the reply's body broke off")) from None
        except (aiohttp.ClientError, OSError) as error:
            reason = self.redact(f"{type(error).__name__}: {error}")
            is_refused = isinstance(error, aiohttp.ClientConnectorError)
            error_type = EndpointUnreachableError if is_refused else EndpointUnavailableError
            raise FailedTryError(error_type(f"{self._name}: no connection ({reason})")) from None
        if status != 200:
            raise self._refusal(status, read_retry_after(retry_after), answer)
        return answer

    async def get(self, path: str) -> bytes:
        """Return what the server has at another path under the base URL; nothing if it has nothing there."""
        url, timeout = self._base_url / path, aiohttp.ClientTimeout(total=_GET_SECONDS)
        try:
            async with join_pool(self).get(
                url, headers=self._headers, timeout=timeout, allow_redirects=False
            ) as response:
                return await self._read_bounded(response) if response.status == 200 else b""
        except (aiohttp.ClientError, OSError, MalformedReplyError):
            return b""

    async def aclose(self) -> None:
        """Leave the pool of connections, which closes with its last user."""
        await leave_pool(self)

    async def _exchange(self, body: bytes) -> tuple[int, str | None, bytes]:
        """Return status, Retry-After header and body of the answer."""
        start = time.monotonic()
        session = join_pool(self)
        async with session.post(
            self.url, data=body, headers=self._headers, timeout=self._timeout, allow_redirects=False
        ) as response:
            if self._learn:
                self._learn(response.headers, time.monotonic() - start)
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
        said = f"{self._name}: HTTP {status}: {error_excerpt(answer, self.redact) or 'no message'}"
        if status == 429 and b'"insufficient_quota"' in answer:
            said += " (the account's quota is used up; waiting does not bring it back)"
            return RequestRejectedError(said, status)
        if status == 429:
            return FailedTryError(RateLimitedError(said), retry_after)
        if status == 408:
            return FailedTryError(EndpointTimeoutError(said), retry_after)
        if status >= 500:
            return FailedTryError(EndpointUnavailableError(said), retry_after)
        hint = self._hints.get(status)
        if status in (401, 403) and not self._key:
            hint = f"no key was sent; set {key_variable(self.url)} to the key for this host"
        elif 300 <= status < 400:
            hint = "redirects are not followed; give the URL that the server redirects to"
        return RequestRejectedError(f"{said} ({hint})" if hint else said, status)


def _read_base_url(base_url: str) -> URL:
    """Validate a base URL; what might be a secret in it is not repeated in the error."""
    try:
        url = URL(base_url)
        is_http = url.scheme in ("http", "https") and bool(url.host)
    except ValueError:
        is_http = False
    if not is_http:
        raise InvalidInputError("base URL: expected http://HOST[:PORT][/PATH] or https://...")
    if url.user or url.password or url.query_string or url.fragment:
        raise InvalidInputError(
            f"base URL on host {url.host}: expected no user, password, query or fragment; "
            f"give the key in the environment variable {key_variable(url)} or MUSIC_API_KEY"
        )
    return url
