"""`counted`: how far a count is, as a bar on a terminal and as a line every ten seconds elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread

from rich.console import Console

from music.cli.output import console as stderr

__all__ = ["counted"]

PLAIN_SECONDS = 10.0


@contextmanager
def counted(
    label: str, total: int, *, is_bound: bool = False, console: Console = stderr, seconds: float = PLAIN_SECONDS
) -> Iterator[Callable[[int], None]]:
    """Show progress for as long as the block lasts, and where there is no terminal once more at its end.

    Args:
        label: What is counted, in the plural.
        total: How many there are.
        is_bound: Whether there are so many at the most.
        console: Where to.
        seconds: Between lines, where there is no terminal.

    Yields:
        What to call with how many more are done; any thread may.
    """
    if console.is_terminal:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TextColumn("ETA"), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(label, total=total)
            yield lambda num: progress.advance(task, num)
        return
    done, over, began = [0], Event(), time.monotonic()

    def advance(num: int) -> None:
        done[0] += num

    def show(*, is_over: bool = False) -> None:
        line = describe(label, done[0], total, time.monotonic() - began, is_bound=is_bound, is_over=is_over)
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    def keep_showing() -> None:
        while not over.wait(seconds):
            show()

    thread = Thread(target=keep_showing, daemon=True)  # also where nothing advances, as a server hangs
    thread.start()
    try:
        yield advance
    finally:
        over.set()
        thread.join()
    show(is_over=True)  # not of what ended with an error, which says so itself


def describe(label: str, num: int, total: int, seconds: float, *, is_bound: bool = False, is_over: bool = False) -> str:
    """Say how far a count is after so many seconds, for example `replies: 120 of 2,400, 0:00:10, ETA 0:03:10`."""
    eta = "done" if is_over else f"ETA {_clock(seconds / num * (total - num))}" if num else "ETA unknown"
    most = "at most " if is_bound else ""
    return f"{label}: {num:,} of {most}{total:,}, {_clock(seconds)}, {eta}"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
