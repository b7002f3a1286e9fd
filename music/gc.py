"""Garbage collection while many calls are in flight.

Hundreds of calls in flight are tens of thousands of live objects, and Python's collector goes through them again and
again: with its default thresholds that takes a fifth of the client's CPU, and pauses of a twentieth of a second. Nearly
all of them are freed by reference counts.
"""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["relaxed"]

THRESHOLDS = (500_000, 20, 100)

_LOCK = threading.Lock()
_FOUND: list[tuple[int, int, int]] = []
"""The thresholds that each open block found; the first are those from before all of them."""


@contextmanager
def relaxed() -> Iterator[None]:
    """Collect garbage seldom for as long as this block or any other lasts, in whichever thread; then as before."""
    with _LOCK:
        _FOUND.append(gc.get_threshold())
        gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        with _LOCK:
            before = _FOUND.pop()
            if not _FOUND:
                gc.set_threshold(*before)
