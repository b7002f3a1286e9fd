"""Many coroutines at once, and one event loop on a thread of its own, on which synchronous code drives clients.

The loop works where `asyncio.run` cannot: inside a running loop, as in a notebook. All that a process runs there
shares one pool of connections.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from music.interrupts import is_command, on_signals

__all__ = ["gather_all", "run_async", "run_in_background"]

T = TypeVar("T")

_LOOPS: dict[int, asyncio.AbstractEventLoop] = {}
"""By process id: a forked child, which inherits no threads, starts a loop of its own."""


async def gather_all(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all at once; the first that fails cancels the others, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


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


def run_in_background(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the background loop and wait for its result; an interrupted wait cancels it.

    Raises:
        RuntimeError: The call came from that loop, which would wait for itself for ever.
    """
    loop = _loop()
    if _running_loop() is loop:
        work.close()
        raise RuntimeError(
            "expected a call from outside the background event loop, got one from what runs there, such as a role or "
            "`is_done`: step environments and score conversations elsewhere, for example with asyncio.to_thread"
        )
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return future.result()
    finally:
        future.cancel()  # a no-op unless the wait itself was interrupted, by Ctrl-C for example


def _loop() -> asyncio.AbstractEventLoop:
    """Return the loop of this process; the first call starts it."""
    pid = os.getpid()
    if pid in _LOOPS:
        return _LOOPS[pid]
    new = asyncio.new_event_loop()
    loop = _LOOPS.setdefault(pid, new)  # atomic: of threads that come first at once, all take the loop of one
    if loop is new:
        threading.Thread(target=loop.run_forever, name=f"music-background-{pid}", daemon=True).start()
    else:
        new.close()
    return loop


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
