"""The sandbox as a web application: its routes, responses, counters and rate limit."""

import asyncio
import functools
import hashlib
import math
import time
from collections import Counter
from collections.abc import Callable

import orjson
from aiohttp import web
from cachetools import LRUCache
from pydantic import ValidationError

from music.errors import MusicError
from music.llm.chat import ChatRequest
from music.llm.rate_limits import TokenBucket
from music.sandbox.model import named_model
from music.sandbox.server.config import ServerConfig
from music.sandbox.server.faults import MAX_REMEMBERED, Fault, FaultPlan, Latency
from music.sandbox.server.wire import ResetResponse, break_completion, read_chat_request, write_completion

__all__ = ["ChatService", "RateLimit", "build_app"]

_MAX_BODY_BYTES = 16 * 2**20
_MAX_MODELS = 64


class RateLimit:
    """Limits requests to a rate, with bursts of one second's worth and at least one request.

    Args:
        rate: Requests per second.
        clock: A monotonic clock in seconds.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rate = rate
        self._bucket = TokenBucket(rate, max(1.0, rate), clock())
        self._started: float | None = None
        self.num_allowed = 0

    @property
    def uptime(self) -> float:
        """Seconds since the first request."""
        return 0.0 if self._started is None else self._clock() - self._started

    def ask(self) -> float:
        """Return 0 if a request is allowed, else the seconds until the next one is."""
        now = self._clock()
        self._started = now if self._started is None else self._started
        seconds = self._bucket.wait(now, 1)
        if not seconds:
            self._bucket.take(now, 1)
            self.num_allowed += 1
        # Rounded up to a header's precision, so that a request after this time is allowed.
        return math.ceil(seconds * 1000) / 1000

    def headers(self) -> dict[str, str]:
        """Return OpenAI's headers: the limit per minute, the requests that remain, and the time until all are back."""
        level = max(0.0, self._bucket.level(self._clock()))
        return {
            "x-ratelimit-limit-requests": str(max(1, round(60 * self._rate))),
            "x-ratelimit-remaining-requests": str(int(level)),
            "x-ratelimit-reset-requests": format_duration((self._bucket.capacity - level) / self._rate),
        }


class ChatService:
    """The handlers of one server, and their counters."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._plan = FaultPlan(Latency.parse(config.latency), config.shares(), seed=config.seed)
        self._limit = RateLimit(config.limit) if config.limit else None
        self._model = functools.lru_cache(maxsize=_MAX_MODELS)(named_model)
        self._stopping = asyncio.Event()
        self._tries = LRUCache[bytes, int](MAX_REMEMBERED)
        self._max_tries = 0
        self._num_requests = 0
        self._num_completed = 0
        self._by_status: Counter[int] = Counter()
        self._by_fault: Counter[str] = Counter()

    async def chat(self, http: web.Request) -> web.Response:
        """Answer `POST /v1/chat/completions`."""
        self._num_requests += 1
        try:
            response = await self._answer(await http.read())
        except ValidationError as error:
            response = _error(400, error.errors()[0]["msg"].removeprefix("Value error, "))
        except MusicError as error:
            response = _error(400, str(error))
        except web.HTTPRequestEntityTooLarge:
            response = _error(413, f"the request's body is larger than {_MAX_BODY_BYTES} bytes")
        if not isinstance(response, ResetResponse):
            self._by_status[response.status] += 1
        if self._limit and self._config.limit_headers:
            response.headers.update(self._limit.headers())
        return response

    async def models(self, _: web.Request) -> web.Response:
        """Answer `GET /v1/models`."""
        model = {"id": "sandbox", "object": "model", "created": 0, "owned_by": "music"}
        return _json({"object": "list", "data": [model]})

    async def stats(self, _: web.Request) -> web.Response:
        """Answer `GET /stats`.

        `requests` counts the chat requests, `by_status` the answered ones, `completed` those with a whole completion,
        and `by_fault` those with a fault. `max_tries` is the number of requests with the most frequent body. `allowed`
        is the number of requests that the limit allowed in the `uptime` seconds since the first; both are null without
        a limit.
        """
        limit = self._limit
        return _json(
            {
                "requests": self._num_requests,
                "completed": self._num_completed,
                "by_status": {str(status): count for status, count in sorted(self._by_status.items())},
                "by_fault": dict(sorted(self._by_fault.items())),
                "max_tries": self._max_tries,
                "allowed": limit and limit.num_allowed,
                "uptime": limit and limit.uptime,
            }
        )

    async def unknown(self, http: web.Request) -> web.Response:
        """Answer any other request with a 404."""
        return _error(
            404,
            f"no such route: {http.method} {http.path}; expected POST /v1/chat/completions, GET /v1/models or /stats",
        )

    async def stop(self, _: web.Application) -> None:
        """Release hanging requests."""
        self._stopping.set()

    async def _answer(self, body: bytes) -> web.Response:
        digest = hashlib.blake2b(body, digest_size=16).digest()
        self._tries[digest] = num_tries = self._tries.get(digest, 0) + 1
        self._max_tries = max(self._max_tries, num_tries)
        model, request = read_chat_request(body)
        fault, seconds = self._fault(request, digest)
        if fault is not Fault.NONE:
            self._by_fault[fault.value] += 1
        if fault in (Fault.LIMIT, Fault.RATE_429):
            return _error(429, "rate limit reached, as this sandbox was asked to", {"Retry-After": f"{seconds:g}"})
        if seconds:
            await asyncio.sleep(seconds)
        if fault in (Fault.ERROR, Fault.POISON):
            return _error(500, "server error, as this sandbox was asked to")
        if fault is Fault.RESET or (fault is Fault.HANG and await self._stops_within(self._config.hang_seconds)):
            return ResetResponse()
        reply = await self._model(model).complete(request)
        completion = write_completion(reply)
        if fault.gives_reply or fault is Fault.HANG:
            self._num_completed += 1
        return break_completion(fault, completion, reply.text) if fault.spoils_answer else _json(completion)

    def _fault(self, request: ChatRequest, digest: bytes) -> tuple[Fault, float]:
        """Return the fault of a request, and its latency in seconds; for a 429, its Retry-After."""
        seconds = self._limit.ask() if self._limit else 0.0
        if seconds:
            return Fault.LIMIT, seconds
        if self._config.poison and self._config.poison in request.messages[-1].content:
            return Fault.POISON, 0.0
        fault, seconds = self._plan.draw(digest)
        return fault, self._config.retry_after if fault is Fault.RATE_429 else seconds

    async def _stops_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True


def build_app(config: ServerConfig) -> web.Application:
    """Return the server's application."""
    service = ChatService(config)
    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    app.router.add_post("/v1/chat/completions", service.chat)
    app.router.add_get("/v1/models", service.models)
    app.router.add_get("/stats", service.stats)
    app.router.add_route("*", "/{path:.*}", service.unknown)
    app.on_shutdown.append(service.stop)
    return app


def format_duration(seconds: float) -> str:
    """Write a time as OpenAI's headers do: `20ms`, `1.5s`, `6m0s`, `1h0m0s`."""
    milliseconds = math.ceil(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{start}{rest / 1000:g}s"


def _json(value: dict[str, object], status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, headers=headers, content_type="application/json")


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    kind = "invalid_request_error" if status < 429 else "rate_limit_error" if status == 429 else "server_error"
    return _json({"error": {"message": message, "type": kind, "param": None, "code": None}}, status, headers)
