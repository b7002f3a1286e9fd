"""Running a command's coroutine."""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from music.interrupts import is_command, on_signals

__all__ = ["run_async"]

T = TypeVar("T")


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a new event loop, uvloop's where there is one.

    In a command's process Ctrl-C cancels it.

    Raises:
        KeyboardInterrupt: It was cancelled so, or cancelled itself as a simulation does at the second Ctrl-C.
    """
    run = _interruptible(coroutine) if is_command() else coroutine
    if sys.platform == "win32":
        return asyncio.run(run)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run)


async def _interruptible(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine as a task that Ctrl-C cancels."""
    task = asyncio.current_task()
    assert task is not None

    def cancel() -> None:
        task.cancel()

    with on_signals(cancel, signal.SIGINT):
        try:
            return await coroutine
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
