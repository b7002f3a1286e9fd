"""The live display of a simulation: a line that moves on a terminal, plain lines elsewhere."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from rich.console import Console
from rich.live import Live
from rich.text import Text

from music_agents.progress import RunProgress

__all__ = ["describe", "show_progress"]

REFRESH_SECONDS = 0.25
PLAIN_SECONDS = 10.0


@asynccontextmanager
async def show_progress(progress: RunProgress, console: Console) -> AsyncIterator[None]:
    """Show a run's progress for as long as the block lasts."""
    show = _live if console.is_terminal else _plain
    task = asyncio.create_task(show(progress, console))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def describe(progress: RunProgress) -> str:
    """Say in one line how far a run is."""
    seconds = max(progress.seconds, 1e-9)
    pace = (progress.num_pairs - progress.num_earlier) / seconds
    remaining = progress.num_wanted - progress.num_pairs
    eta = f"ETA {_clock(remaining / pace)}" if pace else "ETA unknown"
    failed = sum(progress.failures.values())
    text = (
        f"{progress.num_pairs}/{progress.num_wanted} pairs, {failed} failed, "
        f"{progress.num_calls / seconds:.0f} calls/s, {progress.num_tokens} tokens, {eta}"
    )
    return text + (" - stopping, once calls in flight are answered" if progress.stopping else "")


async def _live(progress: RunProgress, console: Console) -> None:
    """Keep one line up to date."""
    with Live(console=console, auto_refresh=False) as live:
        try:
            while True:
                live.update(Text(describe(progress)), refresh=True)
                await asyncio.sleep(REFRESH_SECONDS)
        finally:
            live.update(Text(describe(progress)), refresh=True)


async def _plain(progress: RunProgress, console: Console) -> None:
    """Print a line now and then."""
    while True:
        await asyncio.sleep(PLAIN_SECONDS)
        console.print(describe(progress), markup=False, highlight=False, soft_wrap=True)


def _clock(seconds: float) -> str:
    """Write a duration as h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
