"""The service on aiohttp: in this process until it is stopped, or in its own process during a `with` block."""

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from aiohttp import web

from music.aio import run_async
from music.errors import InvalidInputError, MusicError
from music.serving.config import ServingConfig
from music.serving.engine import ScoringEngine
from music.serving.served_model import ServedModel, load_served
from music.serving.service import HttpRequest, ScoringService

__all__ = ["build_app", "reward_server", "serve"]

_START_SECONDS = 120.0
_STOP_SECONDS = 10.0
_BACKLOG = 4096


def serve(model: str, config: ServingConfig) -> None:
    """Serve a reward model until interrupted or terminated; the first line of standard output is the base URL.

    Raises:
        InvalidInputError: There is no such model, or the server cannot listen on the address.
    """
    run_async(_serve(load_served(model, config), config))


def build_app(service: ScoringService, config: ServingConfig) -> web.Application:
    """Return an application that hands every request to a service."""

    async def handle(http: web.Request) -> web.Response:
        request = HttpRequest(http.method, http.path, await http.read(), http.headers)
        response = await service.handle(request)
        return web.Response(
            status=response.status, body=response.body, headers=response.headers, content_type=response.content_type
        )

    app = web.Application(client_max_size=config.max_body)
    app.router.add_route("*", "/{path:.*}", handle)
    return app


async def _serve(served: ServedModel, config: ServingConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError):  # Windows has no signal handlers on the loop; Ctrl-C still raises there.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
    engine = ScoringEngine(
        served,
        batch_tokens=config.batch_tokens,
        max_wait=config.max_wait / 1000,
        max_queued=config.max_queued,
    )
    # A handler ends with its client, so that nothing is scored for a client that has gone.
    app = build_app(ScoringService(engine, config), config)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, config.host, config.port, backlog=_BACKLOG).start()
        except OSError as error:
            raise InvalidInputError(f"cannot listen on {config.host}:{config.port}: {error.strerror}") from error
        print(f"http://{config.host}:{runner.addresses[0][1]}", flush=True)
        await stop.wait()
        await engine.drain()
    finally:
        await runner.cleanup()
        await engine.aclose()


@contextmanager
def reward_server(model: str, *flags: str) -> Iterator[str]:
    """Run `music serve` in its own process and yield its base URL; the process ends with the block.

    Example:
        >>> with reward_server("runs/rm") as url:  # doctest: +SKIP
        ...     reward = RemoteReward("rm", url)

    Args:
        model: The model's folder.
        *flags: Further flags of `music serve`. By default the server takes a free port.

    Raises:
        MusicError: The server did not start; its message is on standard error.
    """
    command = [sys.executable, "-m", "music", "serve", model, "--port", "0", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            yield _first_line(process)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


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
        raise MusicError(f"the reward server did not start (exit code {process.wait()}); see its message above")
    return url
