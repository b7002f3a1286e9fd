"""The live display of a simulation: a panel on a terminal, plain lines elsewhere, JSON events for machines."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Literal, Protocol

import orjson
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.text import Text

from music_agents.progress.events import EndpointFigures, ProgressEvent
from music_agents.progress.progress import StopCause

__all__ = ["Watched", "describe", "panel", "show_progress"]

SAMPLE_SECONDS = 0.25
PLAIN_SECONDS = 10.0
EVENT_SECONDS = 5.0

_CASE = re.compile("(?<=[a-z])(?=[A-Z])")
_RATE_LIMITED = "RateLimited"
"""The kind of failed tries that is shown as 429s."""

Show = Callable[[ProgressEvent], None]


class Watched(Protocol):
    """A source of snapshots: a `ProgressWatch`, or the sum of several."""

    def sample(self, lag: float) -> None:
        """Sample the counts, and record by how many seconds the event loop was late."""

    def snapshot(self, event: Literal["progress", "end"] = "progress") -> ProgressEvent:
        """Return a snapshot."""


@asynccontextmanager
async def show_progress(watch: Watched, console: Console, *, as_json: bool = False) -> AsyncIterator[None]:
    """Show a run's progress during the block, and once more at its end.

    Args:
        watch: Of the run.
        console: The console, usually on stderr, as stdout is for the result.
        as_json: Whether to write JSON events, one per line, instead of text.
    """
    with _screen(console, as_json) as (show, seconds):
        task = asyncio.create_task(_keep_showing(watch, show, seconds))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, OSError):  # a broken stderr must not lose the result
                await task
            last = watch.snapshot("end")
            with suppress(OSError):
                if last.num_wanted:  # else the run never began
                    show(last)


def describe(snapshot: ProgressEvent) -> str:
    """Return the progress of a run in one line."""
    parts = [_pairs(snapshot), *_failures(snapshot), *_calls(snapshot), *_spending(snapshot)]
    held_up = [
        ", ".join(_endpoint(one))
        for one in snapshot.endpoints
        if one.num_rate_limited or one.num_waiting or one.waits or one.errors
    ]
    return ", ".join(["; ".join([", ".join(parts), *held_up]), *_stopping(snapshot)])


def panel(snapshot: ProgressEvent) -> RenderableType:
    """Return a panel with the progress of a run."""
    lines = [
        _Line([_pairs(snapshot), *_failures(snapshot)]),
        _Line(_calls(snapshot)),
        _Line(_spending(snapshot)),
        *(_Line(_endpoint(figures), ", ") for figures in snapshot.endpoints),
        *(_Line([part]) for part in _stopping(snapshot)),
    ]
    # The bar does not end its line; the empty text does.
    bar = ProgressBar(total=max(snapshot.num_wanted, 1), completed=snapshot.num_pairs)
    return Panel(Group(bar, Text(), *lines), title="simulation", title_align="left")


class _Line:
    """Figures in a row, wrapped between figures.

    A table would take five times as long to draw. The figures are plain text without markup.
    """

    def __init__(self, parts: Sequence[str], separator: str = "   ") -> None:
        self._parts = parts
        self._separator = separator

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the rows."""
        first, *rest = self._parts
        rows = [first]
        for part in rest:
            longer = rows[-1] + self._separator + part
            if len(longer) < options.max_width:
                rows[-1] = longer
            else:
                rows[-1] += self._separator.rstrip()
                rows.append(f"  {part}")
        yield from map(Text, rows)


@contextmanager
def _screen(console: Console, as_json: bool) -> Iterator[tuple[Show, float]]:
    """Yield the function that shows a snapshot, and the seconds between its calls."""
    # Lines are not printed by rich: it wraps them, and it ends the process on a broken pipe.
    if as_json:
        with _warnings_as_events(console):
            yield lambda snapshot: print(snapshot.model_dump_json(), file=console.file, flush=True), EVENT_SECONDS
    elif console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda snapshot: live.update(panel(snapshot), refresh=True), SAMPLE_SECONDS
    else:
        yield lambda snapshot: print(describe(snapshot), file=console.file, flush=True), PLAIN_SECONDS


@contextmanager
def _warnings_as_events(console: Console) -> Iterator[None]:
    """Write warnings of the client as JSON, too, so that every line on stderr is an event."""
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: print(  # type: ignore[method-assign]
        orjson.dumps({"event": "warning", "message": record.getMessage()}).decode(), file=console.file, flush=True
    )
    logger = logging.getLogger("music")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


async def _keep_showing(watch: Watched, show: Show, seconds: float) -> None:
    """Sample the run continually, and show it at an interval of `seconds`."""
    loop = asyncio.get_running_loop()
    shown = loop.time()
    while True:
        due = loop.time() + SAMPLE_SECONDS
        await asyncio.sleep(SAMPLE_SECONDS)
        now = loop.time()
        watch.sample(now - due)
        if now - shown >= seconds:
            shown = now
            show(watch.snapshot())


def _pairs(snapshot: ProgressEvent) -> str:
    is_over = snapshot.num_pairs >= snapshot.num_wanted
    # Few pairs have no projection; and if the last pairs take longer than the others, its calls are used up early.
    seconds = 0.0 if is_over else snapshot.eta_seconds or None
    eta = "unknown"
    if seconds is not None:
        minutes, rest = divmod(round(seconds), 60)
        eta = f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
    return f"{snapshot.num_pairs:,}/{snapshot.num_wanted:,} pairs, ETA {eta}"


def _failures(snapshot: ProgressEvent) -> list[str]:
    num = sum(snapshot.failures.values())
    return [f"{num:,} failed ({_by_kind(snapshot.failures)})"] if num else ["0 failed"]


def _calls(snapshot: ProgressEvent) -> list[str]:
    parts = [f"{snapshot.calls_per_second:,.1f} calls/s", f"{snapshot.num_in_flight:,} in flight"]
    if snapshot.latency_p50 is not None and snapshot.latency_p95 is not None:
        parts.append(f"latency p50 {_seconds(snapshot.latency_p50)} p95 {_seconds(snapshot.latency_p95)}")
    if snapshot.errors:
        parts.append(f"failed calls: {_by_kind(snapshot.errors)}")
    return parts


def _spending(snapshot: ProgressEvent) -> list[str]:
    spending, projection = snapshot.spending, snapshot.projection
    of_tokens = "" if snapshot.max_total_tokens is None else f" of {snapshot.max_total_tokens:,}"
    of_cost = "" if snapshot.max_cost is None else f" of {snapshot.max_cost:,.2f}"
    parts = [f"{spending.num_tokens:,}{of_tokens} tokens"]
    if spending.cost or of_cost:
        parts.append(f"{spending.cost:,.2f}{of_cost} USD")
    if projection is not None:
        cost = f" and {projection.cost:,.2f} USD" if projection.cost else ""
        parts.append(f"projected {projection.num_tokens:,} tokens{cost}")
    return parts


def _endpoint(figures: EndpointFigures) -> list[str]:
    limit = "none" if figures.limit is None else f"{figures.limit:.0f}"
    rate = "none" if figures.rate is None else f"{figures.rate:.1f}/s"
    parts = [f"{figures.name}: {figures.num_in_flight} in flight", f"limit {limit}", f"rate {rate}"]
    parts.append(f"{figures.num_rate_limited:,} 429s")
    if figures.num_waiting or figures.waits:
        parts.append(f"{figures.num_waiting:,} waiting" + (f" ({figures.waits})" if figures.waits else ""))
    failed = {_CASE.sub("_", kind).lower(): num for kind, num in figures.errors.items() if kind != _RATE_LIMITED}
    return parts + ([f"failed tries: {_by_kind(failed)}"] if failed else [])


def _stopping(snapshot: ProgressEvent) -> list[str]:
    if snapshot.stop_reason is None:
        return []
    if snapshot.event == "end" and snapshot.stop_reason is StopCause.STALLED:
        return ["stopped (stalled)"]  # the error message that follows has the details
    waiting = ", once calls in flight are answered" if snapshot.num_in_flight else ""
    return [f"stopping ({snapshot.stop_reason}: {snapshot.stop_detail}){waiting}"]


def _by_kind(counts: Mapping[str, int]) -> str:
    """List counts, the largest first."""
    return ", ".join(f"{kind} {num:,}" for kind, num in sorted(counts.items(), key=lambda item: -item[1]))


def _seconds(seconds: float) -> str:
    """Format a latency with two digits, and in whole seconds from ten on."""
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
