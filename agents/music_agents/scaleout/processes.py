"""`ProcessWorkerPool`: workers as processes of this machine, spawned (not forked), each with a pipe.

A worker ignores Ctrl-C, which a terminal sends to all processes; the coordinator sends it a message to stop. If the
coordinator dies, the pipe closes and the worker ends cleanly: calls in flight are finished and journaled.
"""

import asyncio
import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from music_agents.progress.events import ProgressEvent
from music_agents.run import RunReport
from music_agents.scaleout.aggregate import ProgressAggregate
from music_agents.scaleout.tasks import PartitionFailure, PartitionTask, TaskResult, run_task

__all__ = ["ProcessWorkerPool"]

STOP = None
"""The message to stop, sent in place of a task or during one."""


class ProcessWorkerPool:
    """A number of worker processes; an async context manager.

    Args:
        num_workers: Number of processes.
    """

    def __init__(self, num_workers: int) -> None:
        self._num_workers = num_workers
        self._workers: list[_Worker] = []

    @property
    def num_workers(self) -> int:
        """Number of partitions that run concurrently."""
        return self._num_workers

    async def __aenter__(self) -> Self:
        """Return the pool; processes start with the first tasks."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the workers; kill them after an error."""
        for worker in self._workers:
            worker.dismiss(kill=kind is not None)

    async def run(self, tasks: Sequence[PartitionTask], aggregate: ProgressAggregate) -> dict[int, TaskResult]:
        """Run all tasks; see `WorkerPool`."""
        waiting, results = deque(tasks), dict[int, TaskResult]()
        while len(self._workers) < min(len(tasks), self._num_workers):
            self._workers.append(_Worker())

        async def serve(worker: _Worker) -> None:
            while waiting and not aggregate.stopping:
                task = waiting.popleft()
                results[task.partition.number] = await worker.run(task, aggregate)

        await asyncio.gather(*map(serve, self._workers))
        return results


class _Worker:
    """One process, and the coordinator's end of its pipe."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,))
        with _without_interrupts():
            self._process.start()
        theirs.close()
        self._thread = ThreadPoolExecutor(1)  # the loop's own threads may be fewer than the workers

    async def run(self, task: PartitionTask, aggregate: ProgressAggregate) -> TaskResult:
        """Run a task in the process."""
        loop, is_stopped = asyncio.get_running_loop(), False
        message: ProgressEvent | RunReport | PartitionFailure
        try:
            self._connection.send(task)
            while isinstance(message := await loop.run_in_executor(self._thread, self._connection.recv), ProgressEvent):
                if aggregate.post(task.partition.number, message) and not is_stopped:
                    is_stopped = True
                    self._connection.send(STOP)
        except (EOFError, OSError):
            message = self._died()
        if isinstance(message, PartitionFailure):
            aggregate.give_up(task.partition.number, message.detail)
        return message

    def dismiss(self, *, kill: bool) -> None:
        """End the process after its task, or kill it."""
        if kill:
            self._process.kill()
            self._process.join()  # first, as a thread may be reading
        self._connection.close()
        self._process.join()
        self._thread.shutdown()

    def _died(self) -> PartitionFailure:
        """Return a failure that describes how the process ended."""
        self._process.join()
        code = self._process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return PartitionFailure(f"its process {how}")


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Block Ctrl-C until a new process can ignore it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: "Connection[Any, Any]") -> None:
    """Run tasks until the pipe closes: the main function of a worker process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)

    async def post(snapshot: ProgressEvent) -> bool:
        try:
            connection.send(snapshot)
            return bool(connection.poll()) and connection.recv() is STOP
        except (EOFError, OSError):
            return True  # the coordinator is gone

    with suppress(EOFError, OSError):
        while True:
            task = connection.recv()
            if task is not STOP:
                connection.send(run_task(task, post))
