"""The sandbox behind a real, OpenAI-compatible HTTP server, with latency and faults on demand.

`POST /v1/chat/completions` (not streaming), `GET /v1/models`, and `GET /stats` for tests and benchmarks. The `model`
of a request chooses the sandbox's skill. `build_app` gives the application, `serve` runs it in this process, and
`sandbox_server` runs it in a process of its own for as long as a `with` block lasts.
"""

import asyncio
import functools
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from music.errors import InvalidInputError, MusicError
from music.sandbox.faults import Fault, FaultPlan, Latency
from music.sandbox.model import SandboxModel
from music.sandbox.wire import read_chat_request, write_completion

__all__ = ["ServerConfig", "build_app", "sandbox_server", "serve"]

_MAX_BODY_BYTES = 16 * 2**20
_MAX_MODELS = 64
_START_SECONDS = 60.0
_STOP_SECONDS = 5.0
_FINISH_SECONDS = 1.0


class ServerConfig(BaseModel):
    """Settings of the sandbox's server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=0, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    latency: str = "0"
    """Milliseconds, as `music.sandbox.faults.Latency.parse` reads them."""
    error_rate: float = Field(default=0.0, ge=0, le=1)
    """Share of requests answered with a 500."""
    rate_429: float = Field(default=0.0, ge=0, le=1)
    """Share of requests answered with a 429."""
    retry_after: float = Field(default=1.0, ge=0)
    """Seconds that a 429 asks the client to wait."""
    seed: int = 0
    """Seed of latency and faults; replies do not depend on it."""

    @field_validator("latency")
    @classmethod
    def _readable(cls, latency: str) -> str:
        Latency.parse(latency)
        return latency

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        if self.error_rate + self.rate_429 > 1:
            raise ValueError(f"expected error_rate + rate_429 <= 1, got {self.error_rate + self.rate_429:g}")
        return self


class ChatService:
    """The handlers of one server, and what they count."""

    def __init__(self, config: ServerConfig) -> None:
        self._retry_after = {"Retry-After": f"{config.retry_after:g}"}
        self._faults = FaultPlan(
            Latency.parse(config.latency), error_rate=config.error_rate, rate_429=config.rate_429, seed=config.seed
        )
        self._model = functools.lru_cache(maxsize=_MAX_MODELS)(SandboxModel)
        self._num_requests = 0
        self._by_status: Counter[int] = Counter()

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
        self._by_status[response.status] += 1
        return response

    async def models(self, _: web.Request) -> web.Response:
        """Answer `GET /v1/models`."""
        model = {"id": "sandbox", "object": "model", "created": 0, "owned_by": "music"}
        return _json({"object": "list", "data": [model]})

    async def stats(self, _: web.Request) -> web.Response:
        """Answer `GET /stats`: chat requests seen, completed (answered with a 200), and answered by status."""
        by_status = {str(status): count for status, count in sorted(self._by_status.items())}
        completed = self._by_status[200]
        return _json({"requests": self._num_requests, "completed": completed, "by_status": by_status})

    async def unknown(self, http: web.Request) -> web.Response:
        """Answer whatever else is asked."""
        return _error(
            404,
            f"no such route: {http.method} {http.path}; expected POST /v1/chat/completions, GET /v1/models or /stats",
        )

    async def _answer(self, body: bytes) -> web.Response:
        model, request = read_chat_request(body)
        fault, seconds = self._faults.draw(body)
        if fault is Fault.RATE_LIMIT:
            return _error(429, "rate limit reached, as this sandbox was told to", self._retry_after)
        if seconds:
            await asyncio.sleep(seconds)
        if fault is Fault.SERVER_ERROR:
            return _error(500, "server error, as this sandbox was told to")
        return _json(write_completion(await self._model(model).complete(request)))


def build_app(config: ServerConfig) -> web.Application:
    """Return the server's application."""
    service = ChatService(config)
    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    app.router.add_post("/v1/chat/completions", service.chat)
    app.router.add_get("/v1/models", service.models)
    app.router.add_get("/stats", service.stats)
    app.router.add_route("*", "/{path:.*}", service.unknown)
    return app


def serve(config: ServerConfig, *, with_parent: bool = False) -> None:
    """Serve until interrupted or terminated; the first line of standard output is the base URL.

    Args:
        config: The server's settings.
        with_parent: Stop when standard input closes, as it does when the process that holds its other end dies.

    Raises:
        InvalidInputError: The address cannot be listened on.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(config, with_parent))


@contextmanager
def sandbox_server(config: ServerConfig | None = None) -> Iterator[str]:
    """Run the server in a process of its own and yield its base URL, `http://HOST:PORT/v1`.

    The process ends with the block, or with this process, however that ends. Ctrl-C in a terminal does not reach it.

    Raises:
        MusicError: The server did not start; it has said why on standard error.
    """
    settings = (config or ServerConfig()).model_dump()
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    command = [sys.executable, "-m", "music.sandbox.cli", "serve", "--with-parent", *flags]
    # The child imports what this process imports, however its path was set up.
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env, start_new_session=True) as process:
        try:
            yield _first_line(process)
        finally:
            _stop(process)


async def _serve(config: ServerConfig, with_parent: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError):  # Windows has no signal handlers on the loop; Ctrl-C still raises there.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(build_app(config), access_log=None, shutdown_timeout=_FINISH_SECONDS)
    await runner.setup()
    try:
        port = await _listen(runner, config)
        print(f"http://{config.host}:{port}/v1", flush=True)
        if with_parent:
            _when_stdin_closes(loop, stop)
        await stop.wait()
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, config: ServerConfig) -> int:
    """Start listening and return the port."""
    try:
        await web.TCPSite(runner, config.host, config.port, backlog=4096).start()
    except OSError as error:
        raise InvalidInputError(f"cannot listen on {config.host}:{config.port}: {error.strerror}") from error
    port: int = runner.addresses[0][1]
    return port


def _when_stdin_closes(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    def wait() -> None:
        while os.read(sys.stdin.fileno(), 4096):  # Not sys.stdin.read: its lock breaks the interpreter's shutdown.
            pass
        with suppress(RuntimeError):  # The loop has been closed already.
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait, daemon=True).start()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    if sys.platform == "win32":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


def _first_line(process: subprocess.Popen[str]) -> str:
    """Return the server's first line, which is its base URL."""
    assert process.stdout is not None
    deadline = threading.Timer(_START_SECONDS, process.kill)
    deadline.start()
    try:
        url = process.stdout.readline().strip()
    finally:
        deadline.cancel()
    if not url:
        raise MusicError(f"the sandbox's server did not start (exit code {process.wait()}); see its message above")
    return url


def _stop(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def _json(value: dict[str, object], status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, headers=headers, content_type="application/json")


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    kind = "invalid_request_error" if status < 429 else "rate_limit_error" if status == 429 else "server_error"
    return _json({"error": {"message": message, "type": kind, "param": None, "code": None}}, status, headers)
