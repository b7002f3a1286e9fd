"""`ScoringService`: from an HTTP request to an HTTP response, whatever web framework carries them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from music.errors import MusicError
from music.serving.config import ServingConfig
from music.serving.engine import DrainingError, QueueFullError, ScoringEngine
from music.serving.protocols import PROTOCOLS, RefusedError, ScoringProtocol

__all__ = ["HttpRequest", "HttpResponse", "ScoringService"]

_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request.

    Attributes:
        method: GET or POST.
        path: The path, without the query.
        body: The whole body.
        headers: The headers, their names in lower case.
    """

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response with its whole body."""

    status: int
    body: bytes
    content_type: str = _JSON
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(cls, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> "HttpResponse":
        """Return a response in JSON."""
        return cls(status, orjson.dumps(value), headers=headers or {})


class ScoringService:
    """Answers every request to a reward server.

    Args:
        engine: Scores conversations.
        config: The server's settings.
    """

    def __init__(self, engine: ScoringEngine, config: ServingConfig) -> None:
        self._engine = engine
        self._config = config
        self._protocols: dict[str, ScoringProtocol] = {each.path: each for each in PROTOCOLS}
        self._pages: dict[str, Callable[[], dict[str, Any]]] = {
            "/health": lambda: {"status": "ok"},
            "/ready": lambda: {"status": "ready"},
            "/contract": lambda: engine.served.describe(),
            "/v1/models": lambda: {"object": "list", "data": [_model_entry(engine.served.name)]},
        }

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Answer a request; every error becomes a response."""
        protocol = self._protocols.get(request.path) if request.method == "POST" else None
        try:
            if protocol is not None:
                return HttpResponse.of_json(await self._score(protocol, request.body))
            if request.method == "GET" and (page := self._pages.get(request.path)):
                return HttpResponse.of_json(page())
            raise self._no_such_route(request)
        except RefusedError as error:
            refuse = (protocol or self._protocols["/v1/score"]).refuse
            return HttpResponse.of_json(refuse(error), error.status, error.headers)

    async def _score(self, protocol: ScoringProtocol, body: bytes) -> Any:
        query = protocol.read(body)
        if query.size > self._config.max_conversations:
            message = f"expected at most {self._config.max_conversations} conversations, got {query.size}"
            raise RefusedError(413, "too_many_conversations", message)
        try:
            answer = await self._engine.score(query.encode, query.size)
        except QueueFullError as error:
            headers = {"Retry-After": f"{error.retry_after:.0f}"}
            raise RefusedError(429, "queue_full", str(error), headers) from None
        except DrainingError as error:
            raise RefusedError(503, "draining", str(error), {"Retry-After": "1"}) from None
        except MusicError as error:
            raise RefusedError(400, "invalid_request", str(error)) from None
        return protocol.write(query, answer)

    def _no_such_route(self, request: HttpRequest) -> RefusedError:
        known = f"POST {', '.join(self._protocols)} or GET {', '.join(self._pages)}"
        is_known = request.path in self._protocols or request.path in self._pages
        status, code = (405, "method_not_allowed") if is_known else (404, "no_such_route")
        return RefusedError(status, code, f"no such route: {request.method} {request.path}; expected {known}")


def _model_entry(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "music-rm"}
