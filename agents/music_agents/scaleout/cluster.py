"""`RayWorkerPool`: workers on a Ray cluster, through Ray Data.

Ray restarts a worker that dies, at most three times; it resumes from its partition's journal.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Self

from music.errors import MusicError
from music.ray_cluster import ray_cluster
from music_agents.progress.events import ProgressEvent
from music_agents.scaleout.aggregate import ProgressAggregate
from music_agents.scaleout.tasks import PartitionFailure, PartitionTask, TaskResult, run_task

__all__ = ["RayWorkerPool"]

EXCHANGE_SECONDS = 0.25


class RayWorkerPool:
    """Workers on a Ray cluster, one CPU each; an async context manager.

    Args:
        address: `auto` for the cluster of this machine, `local` for a new cluster on it, or an address.
        num_workers: Number of partitions that run concurrently; by default the number of CPUs of the cluster.
    """

    def __init__(self, address: str, num_workers: int | None = None) -> None:
        self._address = address
        self._wanted = num_workers
        self._num_workers = num_workers or 1
        self._stack = ExitStack()

    @property
    def num_workers(self) -> int:
        """Number of partitions that run concurrently."""
        return self._num_workers

    async def __aenter__(self) -> Self:
        """Join the cluster.

        Raises:
            InvalidInputError: Ray is not installed, or the address has no cluster.
        """
        resources = self._stack.enter_context(ray_cluster(self._address, self._wanted))
        self._num_workers = self._wanted or int(resources.get("CPU", 1))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the cluster and kill running tasks."""
        self._stack.close()

    async def run(self, tasks: Sequence[PartitionTask], aggregate: ProgressAggregate) -> dict[int, TaskResult]:
        """Run all tasks; see `WorkerPool`.

        Raises:
            MusicError: A worker died more often than Ray restarts it.
        """
        import ray

        relay = ray.remote(num_cpus=0)(_Relay).remote()
        exchange = asyncio.create_task(_keep_exchanging(relay, aggregate))
        try:
            rows = await asyncio.to_thread(_map, tasks, relay, self._num_workers)
        except ray.exceptions.RayError as error:
            raise MusicError(f"the Ray cluster gave up: {error}") from error
        finally:
            exchange.cancel()
            await asyncio.gather(exchange, return_exceptions=True)
        results: dict[int, TaskResult] = {row["number"]: row["result"] for row in rows}
        return {number: result for number, result in results.items() if result is not None}


class _Relay:
    """A Ray actor between workers and coordinator: it holds the latest snapshots, and whether to stop."""

    def __init__(self) -> None:
        self._latest: dict[int, ProgressEvent] = {}
        self._is_stopped = False

    def post(self, number: int, snapshot: ProgressEvent) -> bool:
        """Record a worker's snapshot; return whether it must stop."""
        self._latest[number] = snapshot
        return self._is_stopped

    def exchange(self, is_stopped: bool) -> dict[int, ProgressEvent]:
        """Return the snapshots since the last call; record whether the workers must stop."""
        self._is_stopped |= is_stopped
        latest, self._latest = self._latest, {}
        return latest

    def is_stopped(self) -> bool:
        """Whether the workers must stop."""
        return self._is_stopped

    def give_up(self) -> None:
        """Stop all workers, as one failed."""
        self._is_stopped = True


async def _keep_exchanging(relay: Any, aggregate: ProgressAggregate) -> None:
    """Pass snapshots from the relay to the aggregate, and whether to stop from the aggregate to the relay."""
    while True:
        for number, snapshot in (await relay.exchange.remote(aggregate.stopping)).items():
            aggregate.post(number, snapshot)
        await asyncio.sleep(EXCHANGE_SECONDS)


def _map(tasks: Sequence[PartitionTask], relay: Any, num_workers: int) -> list[dict[str, Any]]:
    """Map tasks to results on the cluster, one task each; blocks until all are done."""
    import ray.data

    by_number = {task.partition.number: task for task in tasks}
    place = os.getcwd()

    def simulate(row: dict[str, Any]) -> dict[str, Any]:
        return {"number": row["number"], "result": _run_task(by_number[row["number"]], relay, place)}

    rows = ray.data.from_items([{"number": number} for number in by_number], override_num_blocks=len(tasks))
    pool = ray.data.TaskPoolStrategy(size=num_workers)
    return list(rows.map(simulate, compute=pool, num_cpus=1).iter_rows())


def _run_task(task: PartitionTask, relay: Any, place: str) -> TaskResult | None:
    """Run a task in a Ray worker; return None if the run was stopped before."""
    with suppress(OSError):  # relative paths work as in the coordinator
        os.chdir(place)

    async def post(snapshot: ProgressEvent) -> bool:
        return bool(await relay.post.remote(task.partition.number, snapshot))

    import ray

    if ray.get(relay.is_stopped.remote()):
        return None
    result = run_task(task, post)
    if isinstance(result, PartitionFailure):
        ray.get(relay.give_up.remote())
    return result
