"""`JsonEndpoint`: one URL that accepts JSON by POST, for every client of a server.

Only a complete body with the status 200 is returned. Everything else raises a typed error of `music.llm.chat`, wrapped
in a `FailedTryError` if another try may succeed.

All endpoints of a process and event loop share one pool of connections. Proxies (HTTP_PROXY, HTTPS_PROXY, NO_PROXY) and
`.netrc` are ignored unless MUSIC_TRUST_ENV=1 is set: a proxy meant for the browser must not see the traffic to a server
on this machine.
"""

import asyncio
import os
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from weakref import WeakKeyDictionary, WeakSet

import aiohttp
import orjson
from multidict import CIMultiDict

from music.llm.chat import (
    BodyTruncatedError,
    EndpointError,
    EndpointTimeoutError,
    EndpointUnavailableError,
    EndpointUnreachableError,
    MalformedReplyError,
    RequestRejectedError,
)
from music.llm.connection import find_api_key, key_variable, read_base_url, redact
from music.llm.field_support import refused_field
from music.llm.retry import FailedTryError
from music.llm.retry_after import asked_wait
from music.llm.server_errors import error_excerpt, error_of_status
from music.llm.settings import PostSettings

__all__ = ["JsonEndpoint", "join_pool", "leave_pool"]

_KEEPALIVE_SECONDS = 30.0
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "music-rm"}
_MIN_PRIVATE_CHARS = 4
_NAMES_A_FIELD = {400, 404, 422, 500, 501}
"""Statuses with which servers refuse a field; LiteLLM and older llama.cpp use 500."""
_FLAGS = {"temperature": "--temperature and ", "max_tokens": "--max-reply-tokens and "}
_GET_SECONDS = 5.0


class _Pool:
    """A session and the models that use it."""

    def __init__(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_SECONDS)
        self.session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=os.environ.get("MUSIC_TRUST_ENV") == "1",
        )
        self.users: WeakSet[object] = WeakSet()


_POOLS: WeakKeyDictionary[asyncio.AbstractEventLoop, _Pool] = WeakKeyDictionary()


def join_pool(user: object) -> aiohttp.ClientSession:
    """Return the running loop's session, and register `user` as one of its users."""
    loop = asyncio.get_running_loop()
    pool = _POOLS.get(loop)
    if pool is None or pool.session.closed:
        pool = _POOLS[loop] = _Pool()
    pool.users.add(user)
    return pool.session


async def leave_pool(user: object) -> None:
    """Unregister `user`, and close the running loop's session if nobody else uses it."""
    loop = asyncio.get_running_loop()
    pool = _POOLS.get(loop)
    if pool is None:
        return
    pool.users.discard(user)
    if not pool.users:
        del _POOLS[loop]
        await pool.session.close()


class JsonEndpoint:
    """A URL that accepts JSON by POST. Redirects are not followed.

    Args:
        name: Its name in errors.
        base_url: For example `http://127.0.0.1:8000/v1`; the key for its host comes from the environment.
        path: The path under the base URL.
        settings: Time-outs and limits.
        hints: Text added to the error of an HTTP status.
        learn: Called with the headers of every answer and the seconds since its request was sent.

    Raises:
        InvalidInputError: The base URL is not an http(s) URL without user, password, query, fragment and `path`, or
            the environment variable of a header or query value is not set.
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
        connection = settings.connection
        self._base_url = read_base_url(base_url, path)
        self.url = (self._base_url / path).update_query(connection.query_values())
        self._name = name
        self._settings = settings
        self._hints = hints
        self._learn = learn
        self._key = find_api_key(self.url)
        key = self._key.get_secret_value()
        self._headers = CIMultiDict(_HEADERS | ({"Authorization": f"Bearer {key}"} if key else {}))
        self._headers.update(connection.header_values())
        self._secrets, self._private = (key, *connection.secrets()), tuple(connection.values())
        self._timeout = aiohttp.ClientTimeout(
            total=settings.timeout, connect=settings.connect_timeout, sock_read=settings.read_timeout
        )

    def redact(self, text: str) -> str:
        """Return a text without the key and other secrets, which a server may echo."""
        return redact(text, self._secrets)

    def _redact_all(self, text: str) -> str:
        """Return an error text of a server or library without any value of a header or of the query."""
        return redact(self.redact(text), self._private, min_chars=_MIN_PRIVATE_CHARS)

    def encode(self, fields: Mapping[str, object]) -> bytes:
        """Return the fields as a JSON body.

        Raises:
            RequestRejectedError: They cannot be written as JSON.
        """
        try:
            body = orjson.dumps(fields)
        except TypeError as error:
            raise RequestRejectedError(f"{self._name}: the request cannot be written as JSON: {error}") from None
        return bytes(memoryview(body))  # orjson leaves up to half of its buffer unused, and bodies wait for long

    async def post(self, body: bytes) -> bytes:
        """Send a body and return the answer's body.

        Raises:
            FailedTryError: The try failed; another one may succeed.
            EndpointError: The try failed, and every other one would.
        """
        sending = join_pool(self).post(
            self.url, data=body, headers=self._headers, timeout=self._timeout, allow_redirects=False
        )
        status, headers, answer = await self._exchange(sending, self._timeout, self._learn)
        if status != 200:
            raise self._refusal(status, asked_wait(headers, answer), answer, orjson.loads(body))
        return answer

    async def get(self, path: str) -> bytes:
        """Return the body at another path under the base URL; raises as `post` does."""
        url = self.url.with_path((self._base_url / path).path, keep_query=True)
        timeout = aiohttp.ClientTimeout(total=_GET_SECONDS)
        sending = join_pool(self).get(url, headers=self._headers, timeout=timeout, allow_redirects=False)
        status, headers, answer = await self._exchange(sending, timeout)
        if status != 200:
            raise self._refusal(status, asked_wait(headers, answer), answer, ())
        return answer

    async def aclose(self) -> None:
        """Leave the pool of connections; the last user closes it."""
        await leave_pool(self)

    async def _exchange(
        self,
        sending: AbstractAsyncContextManager[aiohttp.ClientResponse],
        bounds: aiohttp.ClientTimeout,
        learn: Callable[[Mapping[str, str], float], None] | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and body of the answer to a request."""
        start = time.monotonic()
        try:
            async with sending as response:
                if learn:
                    learn(response.headers, time.monotonic() - start)
                return response.status, response.headers, await self._read_bounded(response)
        except aiohttp.ConnectionTimeoutError:
            reason = f"no connection within {self._settings.connect_timeout:g} s"
            raise FailedTryError(EndpointUnreachableError(f"{self._name}: {reason}")) from None
        except TimeoutError as error:
            is_silent = isinstance(error, aiohttp.SocketTimeoutError)
            reason = f"silent for {bounds.sock_read:g} s" if is_silent else f"no reply within {bounds.total:g} s"
            raise FailedTryError(EndpointTimeoutError(f"{self._name}: {reason}"), may_be_paid=True) from None
        except aiohttp.ClientPayloadError:
            broken = BodyTruncatedError(f"{self._name}: the reply's body broke off")
            raise FailedTryError(broken, may_be_paid=True) from None
        except (aiohttp.ClientError, OSError) as error:
            reason = self._redact_all(f"{type(error).__name__}: {error}")
            is_refused = isinstance(error, aiohttp.ClientConnectorError)
            error_type = EndpointUnreachableError if is_refused else EndpointUnavailableError
            unavailable = error_type(f"{self._name}: no connection ({reason})")
            raise FailedTryError(unavailable, may_be_paid=not is_refused) from None

    async def _read_bounded(self, response: aiohttp.ClientResponse) -> bytes:
        chunks, size = [], 0
        while chunk := await response.content.readany():
            chunks.append(chunk)
            size += len(chunk)
            if size > self._settings.max_body_bytes:
                limit = self._settings.max_body_bytes
                raise MalformedReplyError(f"{self._name}: the reply's body is larger than {limit} bytes")
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _refusal(self, status: int, wait: float | None, answer: bytes, sent: Collection[str]) -> EndpointError:
        """Return the error for a status other than 200 to a request with the fields `sent`."""
        said = f"{self._name}: HTTP {status}: {error_excerpt(answer, self._redact_all) or 'no message'}"
        field = refused_field(answer, sent) if status in _NAMES_A_FIELD else None
        if field is not None:
            hint = f"the server does not take {field!r}: leave out {_FLAGS.get(field, '')}--option {field}"
            return RequestRejectedError(f"{said} ({hint})", status, field)
        hint = self._hint(status)
        return error_of_status(status, f"{said} ({hint})" if hint else said, answer, retry_after=wait)

    def _hint(self, status: int) -> str:
        """Return advice for a status; empty for none."""
        if status in (401, 403) and not self._key:
            return f"no key was sent; set {key_variable(self.url)} to the key for this host"
        if 300 <= status < 400:
            return "redirects are not followed; give the URL that the server redirects to"
        return self._hints.get(status, "")
