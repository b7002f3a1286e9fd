"""The sandbox's server in this process until it is stopped, or in its own process.

It answers `POST /v1/chat/completions` (not streaming), `GET /v1/models`, and `GET /stats` for tests and benchmarks. The
`model` of a request chooses the sandbox's skill.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from aiohttp import web

from music.child_server import child_server, when_parent_ends
from music.errors import InvalidInputError
from music.sandbox.server.config import ServerConfig
from music.sandbox.server.service import build_app

__all__ = ["sandbox_server", "serve"]

_START_SECONDS = 60.0
_STOP_SECONDS = 5.0
_FINISH_SECONDS = 1.0


def serve(config: ServerConfig, *, with_parent: bool = False) -> None:
    """Serve until interrupted or terminated; the first line of standard output is the base URL.

    Args:
        config: The server's settings.
        with_parent: Stop when standard input closes, as it does when the parent process dies.

    Raises:
        InvalidInputError: The server cannot listen on the address.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(config, with_parent))


@contextmanager
def sandbox_server(config: ServerConfig | None = None) -> Iterator[str]:
    """Run the server in its own process and yield its base URL, `http://HOST:PORT/v1`.

    The process ends with the block, or when this process ends in any way. Ctrl-C in a terminal does not reach it.

    Raises:
        MusicError: The server did not start; its message is on standard error.
    """
    arguments = ["-m", "music.sandbox.cli", "serve", "--with-parent", *_flags(config or ServerConfig())]
    with child_server(arguments, start_seconds=_START_SECONDS, stop_seconds=_STOP_SECONDS) as base_url:
        yield base_url


def _flags(config: ServerConfig) -> list[str]:
    """Return the flags of `music sandbox serve` for a config."""
    settings = {name.replace("_", "-"): value for name, value in config.model_dump().items()}
    return [
        f"--{'' if value else 'no-'}{name}" if isinstance(value, bool) else f"--{name}={value}"
        for name, value in settings.items()
    ]


async def _serve(config: ServerConfig, with_parent: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError):  # Windows has no signal handlers on the loop; Ctrl-C still raises there.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
    app = build_app(config)
    # A handler ends with its client, so no request hangs after the client disconnected.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_FINISH_SECONDS, handler_cancellation=True)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, config.host, config.port, backlog=4096).start()
        except OSError as error:
            raise InvalidInputError(f"cannot listen on {config.host}:{config.port}: {error.strerror}") from error
        port = runner.addresses[0][1]
        print(f"http://{config.host}:{port}/v1", flush=True)
        if with_parent:
            when_parent_ends(stop.set)
        await stop.wait()
    finally:
        await runner.cleanup()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    if sys.platform == "win32":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop
