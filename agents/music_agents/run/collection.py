"""Garbage collection during a simulation.

Thousands of pairs in flight are millions of live objects, and Python's collector goes through them again and again:
with its default thresholds that takes a fifth of the client's CPU. What is alive at the start will stay alive, and the
rest is mostly freed by reference counts.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["seldom_collected"]

THRESHOLDS = (500_000, 20, 100)


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Collect garbage seldom for as long as the block lasts, and never what was alive before."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
