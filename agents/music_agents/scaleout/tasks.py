"""Tasks of workers: each simulates a partition with its part of the pace and the budget.

Pairs in flight and requests and tokens per minute are divided by the number of workers. The rest of the budget is
divided by the number of partitions of the round, on top of the spending of each. The next round divides what a
partition leaves over.
"""

import asyncio
import math
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Protocol, TypeAlias

from pydantic import ValidationError

from music.aio import run_async
from music.errors import InvalidInputError, MusicError
from music.llm.spending.records import Spending
from music.user_code import describe_fault
from music_agents.config import SimulationConfig
from music_agents.progress import RunProgress
from music_agents.progress.events import ProgressEvent, ProgressWatch
from music_agents.run import Partition, RunReport, run_simulation
from music_agents.run.roles import make_progress
from music_agents.scaleout.aggregate import ProgressAggregate
from music_agents.scaleout.partitions import PARTITIONS, PartitionFolder
from music_agents.seeds import load_seeds

__all__ = ["PartitionFailedError", "PartitionFailure", "PartitionTask", "Post", "TaskResult", "WorkerPool"]
__all__ += ["allocate", "run_task"]

POST_SECONDS = 0.25

Post: TypeAlias = Callable[[ProgressEvent], Awaitable[bool]]
"""Sends a worker's snapshot to the coordinator; returns whether the worker must stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionTask:
    """Simulate one partition up to its end.

    Attributes:
        config: Of the run, with the worker's part of the pace and of the budget.
        directory: Of the partition.
        partition: Its indices.
        retry_failed: Whether its failed pairs are tried again.
        probe: Whether every endpoint over HTTP gets one request first.
    """

    config: SimulationConfig
    directory: Path
    partition: Partition
    retry_failed: bool = False
    probe: bool = False


@dataclass(frozen=True, slots=True)
class PartitionFailure:
    """Why a worker could not simulate its partition, as text, which any process can receive."""

    detail: str

    @classmethod
    def of(cls, error: Exception) -> "PartitionFailure":
        """Describe an error by its message if a user can fix it, and a bug by its traceback."""
        if not isinstance(error, MusicError) and (fault := describe_fault(error)):
            return cls(fault)
        is_plain = isinstance(error, MusicError | ValidationError | OSError)
        return cls(str(error) if is_plain else "".join(traceback.format_exception(error)).strip())


TaskResult: TypeAlias = RunReport | PartitionFailure


class PartitionFailedError(MusicError):
    """A worker died or gave up; the other workers ended cleanly."""


class WorkerPool(AbstractAsyncContextManager["WorkerPool"], Protocol):
    """Workers that run tasks."""

    @property
    def num_workers(self) -> int:
        """Number of partitions that run concurrently."""

    async def run(self, tasks: Sequence[PartitionTask], aggregate: ProgressAggregate) -> dict[int, TaskResult]:
        """Run all tasks, and return the result of each by the number of its partition.

        Once the aggregate is stopping, running tasks end cleanly, and other tasks have no result.
        """


def allocate(
    config: SimulationConfig,
    folders: Sequence[PartitionFolder],
    end: int,
    num_workers: int,
    spent: Mapping[int, Spending],
    *,
    retry_failed: bool = False,
    probe: bool = False,
) -> list[PartitionTask]:
    """Return the tasks that simulate partitions up to an index, within the pace and the budget of the whole run.

    Args:
        config: Of the whole run.
        folders: The partitions to simulate.
        end: The index.
        num_workers: Number of partitions that run concurrently.
        spent: Spending of every partition of the run, by number.
        retry_failed: Whether failed pairs are tried again.
        probe: Whether the first task sends one request to every endpoint first, for all tasks.
    """
    num_working = min(num_workers, len(folders))
    rates = {"requests_per_minute": config.requests_per_minute, "tokens_per_minute": config.tokens_per_minute}
    pace: dict[str, float] = {name: rate / num_working for name, rate in rates.items() if rate is not None}
    pace["max_in_flight"] = max(1, config.max_in_flight // num_working)
    return [
        PartitionTask(
            config=config.model_copy(update=pace | _part_of_budget(config, spent, folder.number, len(folders))),
            directory=folder.directory,
            partition=folder.partition(end),
            retry_failed=retry_failed,
            probe=probe and folder is folders[0],
        )
        for folder in folders
    ]


def _part_of_budget(
    config: SimulationConfig, spent: Mapping[int, Spending], number: int, num_partitions: int
) -> dict[str, float]:
    """Return the bounds of one partition."""
    bounds: dict[str, float] = {}
    own = spent[number]
    if config.max_total_tokens is not None:
        left = config.max_total_tokens - sum(spending.num_tokens for spending in spent.values())
        bounds["max_total_tokens"] = own.num_tokens + math.ceil(left / num_partitions)
    if config.max_cost is not None:
        left_cost = config.max_cost - sum(spending.cost or 0.0 for spending in spent.values())
        bounds["max_cost"] = (own.cost or 0.0) + left_cost / num_partitions
    return bounds


def run_task(task: PartitionTask, post: Post) -> TaskResult:
    """Run a task in this process."""
    try:
        return run_async(_simulate(task, post))
    except Exception as error:  # noqa: BLE001 - the boundary of a worker: the coordinator gets whatever happened
        return PartitionFailure.of(error)


async def _simulate(task: PartitionTask, post: Post) -> RunReport:
    """Simulate a partition, and post its snapshots meanwhile."""
    if not (task.directory.parent / PARTITIONS).exists():
        raise InvalidInputError(
            f"{task.directory.parent} is not there for this worker: the output directory must be on storage that all "
            "nodes see under the same path"
        )
    progress = make_progress(task.config)
    return await run_simulation(
        task.config,
        task.directory,
        seeds=_load_seeds(*task.config.seed_source()).seeds,
        progress=progress,
        retry_failed=task.retry_failed,
        probe=task.probe,
        partition=task.partition,
        display=partial(_posting, progress=progress, post=post),
    )


_load_seeds = cache(load_seeds)
"""Loads seeds once in each worker process."""


@asynccontextmanager
async def _posting(watch: ProgressWatch, progress: RunProgress, post: Post) -> AsyncIterator[None]:
    """Post snapshots during the block, and once more at its end."""
    task = asyncio.create_task(_keep_posting(watch, progress, post))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await post(watch.snapshot("end"))


async def _keep_posting(watch: ProgressWatch, progress: RunProgress, post: Post) -> None:
    """Post snapshots at an interval, and stop the run when the coordinator requests it."""
    loop = asyncio.get_running_loop()
    while True:
        if await post(watch.snapshot()):
            progress.stop()
        due = loop.time() + POST_SECONDS
        await asyncio.sleep(POST_SECONDS)
        watch.sample(loop.time() - due)
