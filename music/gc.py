"""Garbage collection while many calls are in flight.

Hundreds of calls in flight are tens of thousands of live objects, and nearly all of them are freed by reference counts.
With its default thresholds, Python's collector scans them again and again, which takes a fifth of the client's CPU time
in pauses of a twentieth of a second.
"""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["relaxed"]

THRESHOLDS = (500_000, 20, 100)

_LOCK = threading.Lock()
_FOUND: list[tuple[int, int, int]] = []
"""The thresholds at the start of each open block; the first ones are restored at the end."""


@contextmanager
def relaxed() -> Iterator[None]:
    """Collect garbage less often until the last open block of any thread ends."""
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
