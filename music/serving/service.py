"""`ScoringService`: from an HTTP request to an HTTP response, whatever web framework carries them."""

import logging
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from time import monotonic
from typing import Any

import orjson
from pydantic import ValidationError

from music.errors import MusicError
from music.serving.access import AccessRules
from music.serving.config import ServingConfig
from music.serving.engine import ScoringEngine
from music.serving.logs import where
from music.serving.metrics import ServerMetrics
from music.serving.openapi import ReloadRequest, ReloadResponse, describe_api
from music.serving.pending import DrainingError, QueueFullError, TooManyTokensError
from music.serving.protocols import PROTOCOLS, RefusedError, ScoringProtocol
from music.serving.protocols.base import encode_conversations
from music.serving.reloading import Reloader
from music.serving.served_model import TEST_CONVERSATION, ServedModel

__all__ = ["HttpRequest", "HttpResponse", "ScoringService"]

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


@dataclass(frozen=True, slots=True)
class _Route:
    method: str
    answer: Callable[[HttpRequest], Awaitable[HttpResponse]]
    refuse: Callable[[RefusedError], Any]


class ScoringService:
    """Answers every request to a reward server. It belongs to one event loop.

    Args:
        served: The model.
        config: The server's settings.

    Attributes:
        engine: Scores the conversations.
        reloader: Loads other checkpoints.

    Raises:
        InvalidInputError: The settings of access are not valid.
    """

    def __init__(self, served: ServedModel, config: ServingConfig) -> None:
        self._config = config
        self._access = AccessRules.of(config)
        self._metrics = ServerMetrics()
        self.engine = ScoringEngine(
            served,
            batch_tokens=config.batch_tokens,
            max_wait=config.max_wait / 1000,
            max_queued=config.max_queued,
            max_tokens=config.max_tokens,
            observe=self._metrics.add_batch,
        )
        self._metrics.watch_queue(lambda: self.engine.num_queued)
        self.reloader = Reloader(self.engine, config, self._metrics)
        self._document = describe_api(PROTOCOLS)
        own = next(each for each in PROTOCOLS if each.path == "/v1/score")
        self._unknown = _Route("GET", self._no_such_route, own.refuse)
        pages: dict[str, Callable[[], Awaitable[HttpResponse]]] = {
            "/health": self._health,
            "/ready": self._ready,
            "/contract": self._contract,
            "/v1/models": self._models,
            "/metrics": self._counts,
            "/openapi.json": self._api,
        }
        self._routes = {path: _Route("GET", partial(_page, page), own.refuse) for path, page in pages.items()}
        self._routes |= {each.path: _Route("POST", partial(self._score, each), each.refuse) for each in PROTOCOLS}
        self._routes["/v1/reload"] = _Route("POST", self._reload, own.refuse)

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
            self._metrics.add_request(path, status, monotonic() - start)
        if self.engine.is_draining:  # the client's next request must go to another server
            return replace(response, headers={**response.headers, "Connection": "close"})
        return response

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
        self._metrics.add_failure(refused.code)
        response = HttpResponse.of_json(route.refuse(refused), refused.status, refused.headers)
        return replace(response, reason=_in_one_line(refused.message))

    async def _score(self, protocol: ScoringProtocol, request: HttpRequest) -> HttpResponse:
        query = protocol.read(await self._read(request))
        if query.size > self._config.max_conversations:
            message = f"expected at most {self._config.max_conversations} conversations, got {query.size}"
            raise RefusedError(413, "too_many_conversations", message)
        try:
            answer = await self.engine.score(query.encode, query.size)
        except RefusedError:
            raise
        except MusicError as error:
            raise _refusal(error) from None
        for result in answer.results:
            if result.error is not None:
                self._metrics.add_failure(result.error.code)
        return HttpResponse.of_json(protocol.write(query, answer))

    async def _reload(self, request: HttpRequest) -> HttpResponse:
        body = await self._read(request)
        try:
            asked = ReloadRequest.model_validate_json(body or b"{}")
        except ValidationError:
            raise RefusedError(400, "invalid_request", 'expected {"model": FOLDER} or {}') from None
        served = await self.reloader.reload(asked.model)
        return HttpResponse.of_json(ReloadResponse(model=served.name, fingerprint=served.fingerprint).model_dump())

    async def _read(self, request: HttpRequest) -> bytes:
        length = request.headers.get("content-length", "0")
        if int(length) <= self._config.max_body and len(body := await request.read()) <= self._config.max_body:
            return body
        message = f"expected a body of at most {self._config.max_body:,} bytes; send fewer conversations at a time"
        raise RefusedError(413, "body_too_large", message)

    async def _no_such_route(self, request: HttpRequest) -> HttpResponse:
        known = ", ".join(f"{route.method} {path}" for path, route in self._routes.items())
        raise RefusedError(404, "no_such_route", f"there is no {request.method} at this path; expected {known}")

    async def _health(self) -> HttpResponse:
        return HttpResponse.of_json({"status": "ok"})

    async def _ready(self) -> HttpResponse:
        """Answer whether requests get scores; if the newest did not, a test conversation tells whose fault it was."""
        if self.engine.is_draining:
            raise RefusedError(503, "draining", "the server is shutting down")
        if self.engine.is_suspect:
            try:
                encode = partial(encode_conversations, conversations=[TEST_CONVERSATION])
                (result,) = (await self.engine.score(encode, 1)).results
            except MusicError as error:
                raise _refusal(error) from None
            if result.error is not None:
                raise RefusedError(503, result.error.code, f"a test conversation has no score: {result.error.message}")
        return HttpResponse.of_json({"status": "ready"})

    async def _contract(self) -> HttpResponse:
        return HttpResponse.of_json(self.engine.served.describe())

    async def _models(self) -> HttpResponse:
        entry = {"id": self.engine.served.name, "object": "model", "created": 0, "owned_by": "music-rm"}
        return HttpResponse.of_json({"object": "list", "data": [entry]})

    async def _counts(self) -> HttpResponse:
        return HttpResponse(200, self._metrics.text(), "text/plain")

    async def _api(self) -> HttpResponse:
        return HttpResponse.of_json(self._document)


async def _page(page: Callable[[], Awaitable[HttpResponse]], _: HttpRequest) -> HttpResponse:
    return await page()


def _in_one_line(message: str) -> str:
    plain = message.encode("ascii", "replace").decode()
    return "".join(each if each.isprintable() else " " for each in plain)[:_MAX_REASON]


def _refusal(error: MusicError) -> RefusedError:
    """Return how a request is refused for which the engine raised an error."""
    if isinstance(error, QueueFullError):
        return RefusedError(429, "queue_full", str(error), {"Retry-After": str(ceil(error.retry_after))})
    if isinstance(error, DrainingError):
        return RefusedError(503, "draining", str(error), {"Retry-After": "1"})
    if isinstance(error, TooManyTokensError):
        return RefusedError(413, "too_many_tokens", str(error))
    return RefusedError(400, "invalid_request", str(error))
