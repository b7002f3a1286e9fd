"""The service on aiohttp: in this process until it is stopped, or in its own process during a `with` block."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from aiohttp import web

from music.aio import run_async
from music.child_server import child_server, when_parent_ends
from music.hosts import cannot_listen, listening_on
from music.interrupts import end_soon, is_command, on_signals
from music.serving.access import AccessRules
from music.serving.config import ServingConfig
from music.serving.http import HttpRequest, HttpService
from music.serving.logs import TextFilter, log_to_stderr
from music.serving.protocols import RefusedError
from music.serving.served_model import ServedModel, load_served, log_served
from music.serving.service import ScoringService

__all__ = ["build_app", "listening", "reward_server", "run_service", "serve"]

logger = logging.getLogger(__name__)

_START_SECONDS = 120.0
_STOP_SECONDS = 30.0
_CLOSE_SECONDS = 5.0
"""Time in which handlers write their responses at the end."""
_IDLE_SECONDS = 75.0
"""Time after which a connection without a whole request's headers is closed."""
_BACKLOG = 4096


def serve(model: str, config: ServingConfig, *, with_parent: bool = False) -> None:
    """Serve a reward model until interrupted or terminated; the first line of standard output is the base URL.

    Args:
        model: The model's folder.
        config: The server's settings.
        with_parent: Stop when standard input closes, as it does when the parent process ends.

    Raises:
        InvalidInputError: There is no such model, or the server cannot listen on the address, or needs a key.
    """
    log_to_stderr()
    AccessRules.of(config)
    with listening(config) as (listener, url):
        loaded = [load_served(model, config)]
        run_async(_serve(loaded, config, listener, url, with_parent))
    if is_command():  # a batch or a checkpoint that nobody waits for any more must not delay the end
        end_soon(0)


def build_app(service: HttpService, config: ServingConfig) -> web.Application:
    """Return an application that hands every request to a service."""

    async def handle(http: web.Request) -> web.Response:
        request = HttpRequest(http.method, http.path, http.headers, partial(_read, http, config.read_seconds))
        response = await service.handle(request)
        return web.Response(
            status=response.status,
            reason=response.reason or None,
            body=response.body,
            headers=response.headers,
            content_type=response.content_type,
        )

    # The service refuses what is larger by one byte; this bounds what is read of it.
    app = web.Application(client_max_size=config.max_body + 1)
    app.router.add_route("*", "/{path:.*}", handle)
    return app


async def _read(http: web.Request, seconds: float) -> bytes:
    """Read a body.

    Raises:
        RefusedError: It is too large, comes too slowly, or is damaged.
    """
    try:
        async with asyncio.timeout(seconds):
            return await http.read()
    except TimeoutError:
        raise RefusedError(408, "too_slow", f"expected the whole request within {seconds:g} s") from None
    except web.HTTPRequestEntityTooLarge:
        raise RefusedError(
            413, "body_too_large", "expected a smaller body; send fewer conversations at a time"
        ) from None
    except web.RequestPayloadError:
        raise RefusedError(400, "invalid_body", "expected a body in the encoding that its headers name") from None


@contextmanager
def listening(config: ServingConfig) -> Iterator[tuple[socket.socket, str]]:
    """Take the server's address before the model is loaded; connections are refused until the server listens.

    Yields:
        A socket for the server, and its base URL.

    Raises:
        InvalidInputError: The address cannot be had.
    """
    with listening_on(config.host, config.port) as taken:
        yield taken


async def run_service(
    service: HttpService,
    config: ServingConfig,
    listener: socket.socket,
    announce: Callable[[], None],
    *,
    with_parent: bool = False,
) -> None:
    """Answer requests until SIGTERM or Ctrl-C, then those that were accepted; SIGHUP loads the checkpoint again.

    Args:
        service: Answers them; it is closed at the end.
        config: The server's settings.
        listener: A bound socket.
        announce: Called once requests are answered.
        with_parent: As in `serve`.

    Raises:
        InvalidInputError: Another process listens on the address meanwhile.
        Exception: The service broke.
    """
    stop, runner = asyncio.Event(), _make_runner(service, config)
    await runner.setup()
    with on_signals(stop.set, signal.SIGINT, signal.SIGTERM), _reload_on_hangup(service):
        try:
            await _listen(runner, listener, config)
            announce()
            if with_parent:
                when_parent_ends(stop.set)
            await _first(stop.wait(), service.run())
            logger.info("no more requests are taken; %d wait", service.num_queued)
            with suppress(TimeoutError):
                await asyncio.wait_for(service.drain(), config.drain_seconds)
        finally:
            await service.aclose()
            await runner.cleanup()


def _make_runner(service: HttpService, config: ServingConfig) -> web.AppRunner:
    """Return what answers requests; a handler ends with its client, so that nothing is scored for one that has gone."""
    web_logger = logging.getLogger("music.serving.web")
    web_logger.addFilter(TextFilter())
    return web.AppRunner(
        build_app(service, config),
        access_log=None,
        logger=web_logger,
        handler_cancellation=True,
        keepalive_timeout=_IDLE_SECONDS,
        shutdown_timeout=_CLOSE_SECONDS,
    )


async def _listen(runner: web.AppRunner, listener: socket.socket, config: ServingConfig) -> None:
    try:
        await web.SockSite(runner, listener, backlog=_BACKLOG).start()
    except OSError as error:  # another process took the address while the model was loaded
        raise cannot_listen(config.host, config.port, error) from error


async def _serve(
    loaded: list[ServedModel], config: ServingConfig, listener: socket.socket, url: str, with_parent: bool
) -> None:
    """Serve the loaded model, which is taken out of its list: the memory of a model that is replaced must be freed."""
    log_served(loaded[0], config)
    service = ScoringService(loaded.pop(), config)
    await run_service(service, config, listener, partial(_announce, url), with_parent=with_parent)


def _announce(url: str) -> None:
    """Print the base URL on standard output."""
    logger.info("the API is described at %s/openapi.json", url)
    print(url, flush=True)


async def _first(*work: Coroutine[Any, Any, object]) -> None:
    """Wait until one of several coroutines ends, cancel the others, and raise its error if it has one."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()


@contextmanager
def _reload_on_hangup(service: HttpService) -> Iterator[None]:
    """Load the checkpoint again when SIGHUP comes within the block."""
    tasks: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        try:
            await service.reload()
        except RefusedError as error:
            logger.warning("SIGHUP: %s", error)

    def start() -> None:
        tasks.add(task := asyncio.create_task(reload()))
        task.add_done_callback(tasks.discard)

    loop = asyncio.get_running_loop()
    with suppress(AttributeError, NotImplementedError):  # Windows has neither this signal nor handlers on the loop
        loop.add_signal_handler(signal.SIGHUP, start)
    try:
        yield
    finally:
        with suppress(AttributeError, NotImplementedError):
            loop.remove_signal_handler(signal.SIGHUP)


@contextmanager
def reward_server(model: str, *flags: str) -> Iterator[str]:
    """Run `music serve` in its own process and yield its base URL.

    The process ends with the block, or when this process ends in any way.

    Example:
        >>> with reward_server("runs/rm") as url:  # doctest: +SKIP
        ...     reward = RemoteReward("rm", url)

    Args:
        model: The model's folder.
        *flags: Further flags of `music serve`. By default the server takes a free port.

    Raises:
        MusicError: The server did not start; its message is on standard error.
    """
    arguments = ["-m", "music", "serve", model, "--port", "0", "--with-parent", *flags]
    with child_server(arguments, start_seconds=_START_SECONDS, stop_seconds=_STOP_SECONDS) as base_url:
        yield base_url
