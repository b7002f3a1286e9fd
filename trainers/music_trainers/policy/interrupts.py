"""`InterruptAtStep`: Ctrl-C while the weights of a policy change takes effect at the end of the step."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

__all__ = ["InterruptAtStep"]


class InterruptAtStep:
    """A context in which Ctrl-C raises `KeyboardInterrupt` at once, or at the next call of `raise_pending`.

    A second Ctrl-C is never kept waiting.

    Args:
        is_updating: Returns whether the interrupt must wait.
        report: Called with a line for people when it does.
    """

    def __init__(self, is_updating: Callable[[], bool], report: Callable[[str], None]) -> None:
        self._is_updating, self._report = is_updating, report
        self._is_pending = False
        self._before: Any = None

    def __enter__(self) -> Self:
        """Handle Ctrl-C, if this is the main thread."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the handler."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def raise_pending(self) -> None:
        """Raise `KeyboardInterrupt` if Ctrl-C came while it had to wait."""
        if self._is_pending:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._is_updating() and not self._is_pending:
            self._is_pending = True
            self._report("finishing the step before the run is saved; press Ctrl-C again to end at once")
        elif callable(self._before):
            self._before(number, frame)
        else:
            raise KeyboardInterrupt
