"""One event loop on a thread of its own, so that synchronous code can drive asynchronous chat models.

It works where `asyncio.run` cannot: inside a running loop, as in a notebook. All environments of a process share it,
and with it the connections of the models that they use.
"""

import asyncio
import os
import threading
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

__all__ = ["run_in_background"]

T = TypeVar("T")


def run_in_background(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the background loop and wait for its result; an interrupted wait cancels it."""
    future = asyncio.run_coroutine_threadsafe(work, _loop(os.getpid()))
    try:
        return future.result()
    finally:
        future.cancel()  # a no-op unless the wait itself was interrupted, by Ctrl-C for example


@cache
def _loop(pid: int) -> asyncio.AbstractEventLoop:
    """Start the loop of this process; a forked child, which inherits no threads, starts its own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name=f"music-envs-{pid}", daemon=True).start()
    return loop
