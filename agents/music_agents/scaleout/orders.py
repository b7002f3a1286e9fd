"""What a worker is told to do, how it does it, and what it answers."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from music.cli import run_async
from music.errors import InvalidInputError, MusicError
from music.preferences import Consecutive
from music.user_code import describe_fault
from music_agents.progress import RunProgress
from music_agents.progress.events import Snapshot, Watch
from music_agents.run import RunReport, Share, SimulationJob
from music_agents.scaleout.board import Board
from music_agents.scaleout.part import SHARES
from music_agents.seeds import load_seeds

__all__ = ["Crew", "Post", "ShareFailedError", "ShareFailure", "ShareOrder", "work"]

POST_SECONDS = 0.25

Post = Callable[[Snapshot], Awaitable[bool]]
"""Sends a worker's figures to the coordinator; says whether the worker is to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareOrder:
    """Simulate one share up to its end.

    Attributes:
        job: The run's, with the worker's part of the pace and of the budget.
        directory: Of the share.
        share: Which indices.
        retry_failed: Whether its failed pairs are tried again.
        probe: Whether every endpoint is asked once beforehand.
    """

    job: SimulationJob
    directory: Path
    share: Share
    retry_failed: bool = False
    probe: bool = False


@dataclass(frozen=True, slots=True)
class ShareFailure:
    """Why a worker could not do its share, as text, so that it crosses every process boundary."""

    detail: str

    @classmethod
    def of(cls, error: Exception) -> "ShareFailure":
        """Word an error: what a user can fix by its message, a bug by its traceback."""
        if not isinstance(error, MusicError) and (fault := describe_fault(error)):
            return cls(fault)
        is_plain = isinstance(error, MusicError | ValidationError | OSError)
        return cls(str(error) if is_plain else "".join(traceback.format_exception(error)).strip())


class ShareFailedError(MusicError):
    """A worker died or gave up; the other workers ended in order."""


class Crew(Protocol):
    """Workers that take orders; an async context manager."""

    @property
    def num_workers(self) -> int:
        """How many shares are simulated at a time."""

    async def run(self, orders: Sequence[ShareOrder], board: Board) -> dict[int, RunReport | ShareFailure]:
        """Have all orders done, and return what came of each by the number of its share.

        Once the board says so, work is ended in order, and orders not begun are left out.
        """


def work(order: ShareOrder, post: Post) -> RunReport | ShareFailure:
    """Do an order in this process."""
    try:
        return run_async(_run_share(order, post))
    except Exception as error:  # noqa: BLE001 - the boundary of a worker: whatever happened is told to the coordinator
        return ShareFailure.of(error)


async def _run_share(order: ShareOrder, post: Post) -> RunReport:
    """Simulate a share, and post its figures meanwhile."""
    if not (order.directory.parent / SHARES).exists():
        raise InvalidInputError(
            f"{order.directory.parent} is not there for this worker: the output directory must be on storage that all "
            "nodes see under the same path"
        )
    progress = order.job.progress()
    return await order.job.run(
        order.directory,
        _open_seeds(*_source(order.job)).seeds,
        progress,
        retry_failed=order.retry_failed,
        share=order.share,
        probe=order.probe,
        display=partial(_posting, progress=progress, post=post),
    )


def _source(job: SimulationJob) -> tuple[str, str | None, bool, str | None, Consecutive]:
    return job.seeds, job.format, job.strict, job.split, job.consecutive


_open_seeds = cache(load_seeds)
"""Once in each worker, however many orders it gets."""


@asynccontextmanager
async def _posting(watch: Watch, progress: RunProgress, post: Post) -> AsyncIterator[None]:
    """Post figures for as long as the block lasts, and once more at its end."""
    task = asyncio.create_task(_keep_posting(watch, progress, post))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await post(watch.snapshot("end"))


async def _keep_posting(watch: Watch, progress: RunProgress, post: Post) -> None:
    """Post the run's figures steadily, and stop it when told to."""
    loop = asyncio.get_running_loop()
    while True:
        if await post(watch.snapshot()):
            progress.stop()
        due = loop.time() + POST_SECONDS
        await asyncio.sleep(POST_SECONDS)
        watch.sample(loop.time() - due)
