"""`HttpService`: from an HTTP request to an HTTP response, whatever web framework carries them."""

import logging
from abc import ABC, abstractmethod
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

import orjson
from pydantic import ValidationError

from music.serving.access import AccessRules
from music.serving.config import ServingConfig
from music.serving.logs import where
from music.serving.metrics import ServerMetrics
from music.serving.openapi import ReloadRequest, ReloadResponse
from music.serving.protocols import PROTOCOLS, RefusedError

__all__ = ["Handler", "HttpRequest", "HttpResponse", "HttpService"]

logger = logging.getLogger(__name__)

_CLIENT_GONE = 499
"""The status under which requests are counted whose client did not wait, as in nginx."""

_MAX_REASON = 500
"""Most characters of a status line's text; clients bound the whole line."""


async def _no_body() -> bytes:
    return b""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request.

    Attributes:
        method: The method, in capitals.
        path: The path, without the query.
        headers: The headers; names are looked up in lower case.
        read: Reads the body; raises `RefusedError` if that fails. A request that is refused is not read.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    read: Callable[[], Awaitable[bytes]] = _no_body


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response with its whole body.

    Attributes:
        reason: The text of the status line, in printable ASCII; empty for the usual one. The clients of OpenRLHF, verl
            and slime log that line alone, so it says why a request was refused.
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    @classmethod
    def of_json(cls, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> "HttpResponse":
        """Return a response in JSON."""
        return cls(status, orjson.dumps(value), headers=headers or {})


Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]


@dataclass(frozen=True, slots=True)
class _Route:
    method: str
    answer: Handler
    refuse: Callable[[RefusedError], Any]


class HttpService(ABC):
    """Answers every request to a server: checks who asks, finds the handler of the path, and gives errors their shape.

    Args:
        config: The server's settings.
        access: Whom it answers.
        pages: The handlers of GET requests, by path.
        posts: The handlers of POST requests, by path; `/v1/reload` comes to them.

    Attributes:
        metrics: What it counts.
    """

    def __init__(
        self, config: ServingConfig, access: AccessRules, pages: Mapping[str, Handler], posts: Mapping[str, Handler]
    ) -> None:
        self._config = config
        self._access = access
        self.metrics = ServerMetrics()
        refusals = {each.path: each.refuse for each in PROTOCOLS}
        own = refusals["/v1/score"]
        self._unknown = _Route("GET", self._no_such_route, own)
        self._routes = {path: _Route("GET", page, own) for path, page in pages.items()}
        self._routes |= {path: _Route("POST", post, refusals[path]) for path, post in posts.items()}
        self._routes["/v1/reload"] = _Route("POST", self._reload, own)

    @property
    @abstractmethod
    def is_draining(self) -> bool:
        """Whether new requests are refused."""

    @property
    @abstractmethod
    def num_queued(self) -> int:
        """Number of conversations or requests that are not answered yet."""

    @abstractmethod
    async def run(self) -> None:
        """Wait until `aclose`; raises an error if the service breaks."""

    @abstractmethod
    async def reload(self, path: str | None = None) -> ReloadResponse:
        """Load a checkpoint and serve it, by default the one that is served now.

        Raises:
            RefusedError: This checkpoint may not be loaded or cannot be, or another one is being loaded.
        """

    @abstractmethod
    async def drain(self) -> None:
        """Refuse new requests, and wait until all others are answered."""

    @abstractmethod
    async def aclose(self) -> None:
        """Stop at once."""

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Answer a request; every error becomes a response in the shape of the path's protocol."""
        route, start, status = self._routes.get(request.path, self._unknown), monotonic(), 500
        try:
            response = await self._answer(route, request)
            status = response.status
        except CancelledError:
            status = _CLIENT_GONE
            raise
        finally:
            path = request.path if request.path in self._routes else "other"
            self.metrics.add_request(path, status, monotonic() - start)
        if self.is_draining:  # the client's next request must go to another server
            return replace(response, headers={**response.headers, "Connection": "close"})
        return response

    async def read(self, request: HttpRequest) -> bytes:
        """Return a request's body.

        Raises:
            RefusedError: It is too large, or cannot be read.
        """
        length = request.headers.get("content-length", "0")
        if int(length) <= self._config.max_body and len(body := await request.read()) <= self._config.max_body:
            return body
        message = f"expected a body of at most {self._config.max_body:,} bytes; send fewer conversations at a time"
        raise RefusedError(413, "body_too_large", message)

    async def _answer(self, route: _Route, request: HttpRequest) -> HttpResponse:
        try:
            self._access.check(request.path, request.headers)
            method = "GET" if request.method == "HEAD" else request.method
            if route is not self._unknown and method != route.method:
                message = f"expected {route.method} {request.path}, got {request.method}"
                raise RefusedError(405, "method_not_allowed", message, {"Allow": route.method})
            return await route.answer(request)
        except RefusedError as error:
            refused = error
        except Exception as error:  # noqa: BLE001 - the boundary of the process: a bug must not end the server
            # Its message may quote the request.
            logger.error("%s: %s\n%s", request.path, type(error).__name__, where(error))
            refused = RefusedError(500, "internal", "the server has a bug; its log has the error")
        self.metrics.add_failure(refused.code)
        response = HttpResponse.of_json(route.refuse(refused), refused.status, refused.headers)
        return replace(response, reason=_in_one_line(refused.message))

    async def _reload(self, request: HttpRequest) -> HttpResponse:
        body = await self.read(request)
        try:
            asked = ReloadRequest.model_validate_json(body or b"{}")
        except ValidationError:
            raise RefusedError(400, "invalid_request", 'expected {"model": FOLDER} or {}') from None
        return HttpResponse.of_json((await self.reload(asked.model)).model_dump())

    async def _no_such_route(self, request: HttpRequest) -> HttpResponse:
        known = ", ".join(f"{route.method} {path}" for path, route in self._routes.items())
        raise RefusedError(404, "no_such_route", f"there is no {request.method} at this path; expected {known}")


def _in_one_line(message: str) -> str:
    plain = message.encode("ascii", "replace").decode()
    return "".join(each if each.isprintable() else " " for each in plain)[:_MAX_REASON]
