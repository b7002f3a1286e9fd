"""A server in a process of its own, which ends with the process that started it, in whatever way that one ends."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from music.errors import MusicError

__all__ = ["child_server", "when_parent_ends"]


@contextmanager
def child_server(arguments: Sequence[str], *, start_seconds: float, stop_seconds: float) -> Iterator[str]:
    """Run a server in its own process and yield the first line of its output, which is its base URL.

    The process ends with the block, or when this process ends. Ctrl-C in a terminal does not reach it.

    Args:
        arguments: Arguments of Python. The server calls `when_parent_ends`.
        start_seconds: Time in which it starts.
        stop_seconds: Time in which it ends in order; then it is killed.

    Raises:
        MusicError: The server did not start; its message is on standard error.
    """
    # The child process uses this process's import path.
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command, pipe = [sys.executable, *arguments], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env, start_new_session=True) as process:
        try:
            yield _first_line(process, start_seconds)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(stop_seconds)
            except subprocess.TimeoutExpired:
                process.kill()


def _first_line(process: subprocess.Popen[str], seconds: float) -> str:
    assert process.stdout is not None
    deadline = threading.Timer(seconds, process.kill)
    deadline.start()
    try:
        url = process.stdout.readline().strip()
    finally:
        deadline.cancel()
    if not url:
        raise MusicError(f"the server did not start (exit code {process.wait()}); see its message above")
    return url


def when_parent_ends(stop: Callable[[], object]) -> None:
    """Call a function on the running event loop when standard input closes, as it does when the parent ends."""
    loop = asyncio.get_running_loop()

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 4096):  # Not sys.stdin.read: its lock breaks the interpreter's shutdown.
            pass
        with suppress(RuntimeError):  # The loop has been closed already.
            loop.call_soon_threadsafe(stop)

    threading.Thread(target=wait, daemon=True).start()
