"""Running coroutines: many at once, in a command, and from synchronous code.

`run_in_background` works inside a running loop, as in a notebook, where `asyncio.run` does not. It uses one event loop
in a background thread, so everything that a process runs there shares one pool of connections. `await_in_background`
awaits work on that loop from another one.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar, cast

from music.gc import relaxed
from music.interrupts import is_command, on_signals

__all__ = ["await_in_background", "finish_all", "gather_all", "run_async", "run_in_background"]

T = TypeVar("T")

NUM_PER_ROUND = 16
"""Number of coroutines that `finish_all` starts in one round of the event loop."""
_LOOPS: dict[int, asyncio.AbstractEventLoop] = {}
"""Loops by process id: a forked child inherits no threads and starts its own loop."""


async def gather_all(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Await coroutines concurrently; the first failure cancels the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def finish_all(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Await coroutines concurrently; if some fail, the first error is raised after all have ended.

    They start a few at a time. An event loop writes to its sockets between rounds: if all started in one round, the
    first request would be sent only after the last was created.
    """
    tasks: list[asyncio.Future[T]] = []
    with relaxed():
        try:
            for start in range(0, len(work), NUM_PER_ROUND):
                tasks += map(asyncio.ensure_future, work[start : start + NUM_PER_ROUND])
                await asyncio.sleep(0)
            results = await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for task in tasks:
                task.cancel()  # this and the loop below have an effect only if `finish_all` itself was cancelled
            for unbegun in work[len(tasks) :]:
                unbegun.close()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return cast(list[T], results)


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a new event loop, with uvloop except on Windows.

    In a command's process, Ctrl-C cancels it.

    Raises:
        KeyboardInterrupt: In a command, it was cancelled, by Ctrl-C or by itself.
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
        RuntimeError: The call came from that loop, which would wait for itself forever.
    """
    loop = _loop()
    if _running_loop() is loop:
        work.close()
        raise RuntimeError(
            "expected a call from outside the background event loop, got one from code that runs there, such as a role "
            "or `is_done`: step environments and score conversations elsewhere, for example with asyncio.to_thread"
        )
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return future.result()
    finally:
        future.cancel()  # does nothing unless the wait itself was interrupted, by Ctrl-C for example


async def await_in_background(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the background loop and await its result from any loop; cancelling the wait cancels it."""
    loop = _loop()
    if asyncio.get_running_loop() is loop:
        return await work
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))


def _loop() -> asyncio.AbstractEventLoop:
    """Return the background loop of this process; the first call starts it."""
    pid = os.getpid()
    if pid in _LOOPS:
        return _LOOPS[pid]
    new = asyncio.new_event_loop()
    loop = _LOOPS.setdefault(pid, new)  # atomic: threads that call this at once all get the same loop
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
