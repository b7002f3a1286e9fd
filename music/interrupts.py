"""Ctrl-C in a command: the first one asks it to end, the second one ends it.

The command decides what the first one does: most raise `KeyboardInterrupt`, a simulation ends in order. After the
second one, the process has `GRACE_SECONDS` to close its files. Then it exits, even if a server, a thread or another
library's shutdown hangs. This applies only within `command_interrupts`.
"""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

__all__ = ["INTERRUPTED", "command_interrupts", "end_soon", "is_command", "on_signals"]

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells expect."""
GRACE_SECONDS = 1.0


class _Presses:
    """The number of Ctrl-C presses in this process, and whether it runs a command."""

    is_command = False
    num = 0


_handlers: dict[tuple[asyncio.AbstractEventLoop, int], Callable[[], None]] = {}


def is_command() -> bool:
    """Whether the process runs a command, and so ends at the second Ctrl-C."""
    return _Presses.is_command


def end_soon(code: int = INTERRUPTED) -> None:
    """End the process with this exit code after `GRACE_SECONDS` if it has not ended by then."""
    timer = threading.Timer(GRACE_SECONDS, os._exit, (code,))
    timer.daemon = True
    timer.start()


@contextmanager
def command_interrupts() -> Iterator[None]:
    """Treat this process as a command's within the block; call it in the main thread."""

    def handle(_: int, __: FrameType | None) -> None:
        _press()
        raise KeyboardInterrupt

    before, _Presses.is_command, _Presses.num = signal.signal(signal.SIGINT, handle), True, 0
    try:
        yield
    except SystemExit as end:
        if end.code == INTERRUPTED:
            end_soon()
        raise
    finally:
        _Presses.is_command = False
        signal.signal(signal.SIGINT, before)


@contextmanager
def on_signals(callback: Callable[[], None], *numbers: signal.Signals) -> Iterator[None]:
    """Call `callback` on the running event loop when a signal comes within the block.

    Where the loop cannot handle signals (on Windows, outside the main thread), their handlers stay unchanged.
    """
    loop = asyncio.get_running_loop()

    def handle() -> None:
        _press()
        callback()

    before: dict[signal.Signals, tuple[Any, Callable[[], None] | None]] = {}
    with suppress(NotImplementedError, RuntimeError, ValueError):
        for number in numbers:
            outer = signal.getsignal(number), _handlers.get((loop, number))
            loop.add_signal_handler(number, handle)
            before[number], _handlers[loop, number] = outer, handle
    try:
        yield
    finally:
        for number, (python_handler, outer_handle) in before.items():
            if outer_handle is not None:
                loop.add_signal_handler(number, outer_handle)
                _handlers[loop, number] = outer_handle
            else:
                loop.remove_signal_handler(number)
                del _handlers[loop, number]
                signal.signal(number, python_handler)


def _press() -> None:
    _Presses.num += 1
    if _Presses.is_command and _Presses.num > 1:
        end_soon()
