"""Output of commands: messages and progress on stderr, results on stdout.

`counted` shows a progress bar on a terminal, and a line every ten seconds elsewhere.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Annotated, Any

import orjson
import typer
from pydantic import BaseModel
from rich.console import Console, RenderableType

__all__ = ["AsJson", "console", "counted", "emit", "note"]

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON on stdout.")]
"""The `--json` flag; annotate a command's parameter with it and pass the value to `emit`."""

console = Console(stderr=True, emoji=False)
"""Progress, notes and errors; stdout is for results. `:x:` in a path is not an emoji."""


PLAIN_SECONDS = 10.0
"""Seconds between lines of progress without a terminal."""


def note(line: str) -> None:
    """Print a message for the user on stderr, as it is and on one line."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def emit(result: Mapping[str, Any], as_json: bool, text: RenderableType | None = None) -> None:
    """Print a command's result on stdout.

    Args:
        result: The machine-readable result; may contain paths, models, dataclasses and numpy numbers.
        as_json: Whether to print `result` as one line of JSON.
        text: Shown without JSON, a string or a rich renderable; by default one `name: value` per line.
    """
    if as_json:
        options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE
        sys.stdout.write(orjson.dumps(dict(result), default=_plain, option=options).decode())
        sys.stdout.flush()
        return
    if text is None:
        typer.echo("\n".join(f"{name}: {value}" for name, value in result.items()))
    else:
        Console(highlight=False, emoji=False).print(text, soft_wrap=isinstance(text, str))


def _plain(value: Any) -> Any:
    """Convert a value that orjson cannot serialise."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"expected a value that JSON can hold, got {type(value).__name__}")


@contextmanager
def counted(
    label: str, total: int, *, is_bound: bool = False, console: Console = console, seconds: float = PLAIN_SECONDS
) -> Iterator[Callable[[int], None]]:
    """Show progress during the block, and without a terminal once more at its end.

    Args:
        label: The counted things, in the plural.
        total: Their number.
        is_bound: Whether `total` is an upper bound.
        console: The console for the progress.
        seconds: Seconds between lines without a terminal.

    Yields:
        A thread-safe function that advances the progress by a number.
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
        line = describe_progress(label, done[0], total, time.monotonic() - began, is_bound=is_bound, is_over=is_over)
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    def keep_showing() -> None:
        while not over.wait(seconds):
            show()

    thread = Thread(target=keep_showing, daemon=True)  # shows lines even if a server hangs
    thread.start()
    try:
        yield advance
    finally:
        over.set()
        thread.join()
    show(is_over=True)  # not after an error, which has its own message


def describe_progress(
    label: str, num: int, total: int, seconds: float, *, is_bound: bool = False, is_over: bool = False
) -> str:
    """Return a line of progress after `seconds`, for example `replies: 120 of 2,400, 0:00:10, ETA 0:03:10`."""
    eta = "done" if is_over else f"ETA {_clock(seconds / num * (total - num))}" if num else "ETA unknown"
    most = "at most " if is_bound else ""
    return f"{label}: {num:,} of {most}{total:,}, {_clock(seconds)}, {eta}"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
