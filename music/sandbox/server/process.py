"""The sandbox's server in this process until it is stopped, or in its own process.

It answers `POST /v1/chat/completions` (not streaming), `GET /v1/models`, and `GET /stats` for tests and benchmarks. The
`model` of a request chooses the sandbox's skill.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from aiohttp import web

from music.errors import InvalidInputError, MusicError
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
    command = [sys.executable, "-m", "music.sandbox.cli", "serve", "--with-parent", *_flags(config or ServerConfig())]
    # The child process uses this process's import path.
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env, start_new_session=True) as process:
        try:
            yield _first_line(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


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
            _when_stdin_closes(loop, stop)
        await stop.wait()
    finally:
        await runner.cleanup()


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
