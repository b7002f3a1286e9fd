"""Run functions in several processes. When one fails or dies, the others continue."""

import multiprocessing
import traceback
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from music_trainers.arms import use_one_thread

__all__ = ["Failure", "run_in_processes"]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Failure:
    """Work without a result.

    Attributes:
        error: The error, in one line.
        details: The traceback; empty if the process died.
    """

    error: str
    details: str = ""


def run_in_processes(
    work: Mapping[K, tuple[Callable[..., T], tuple[Any, ...]]], num_processes: int
) -> Iterator[tuple[K, T | Failure]]:
    """Run functions in processes of one thread each; yield each result or failure when it is ready.

    Args:
        work: By key, a function that can be pickled, and its arguments.
        num_processes: Number of processes at a time.
    """
    processes = _Processes[T](num_processes)
    threads = ThreadPoolExecutor(num_processes)
    try:
        futures = {
            threads.submit(processes.run, function, arguments): key for key, (function, arguments) in work.items()
        }
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        processes.close()


class _Processes(Generic[T]):
    """Worker processes; a process that dies is replaced."""

    def __init__(self, num: int) -> None:
        self._free: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()
        self._all = [self._new() for _ in range(num)]
        for one in self._all:
            self._free.put(one)

    def run(self, function: Callable[..., T], arguments: tuple[Any, ...]) -> T | Failure:
        """Run in a free process."""
        pool = self._free.get()
        try:
            future: Future[T] = pool.submit(function, *arguments)
            return future.result()
        except BrokenProcessPool:
            pool = self._new()
            self._all.append(pool)
            return Failure("its process died; out of memory?")
        except Exception as error:  # noqa: BLE001 - from another process: it is returned, and the others continue
            return Failure(f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)))
        finally:
            self._free.put(pool)

    def close(self) -> None:
        """End the processes; unfinished work is lost."""
        for one in self._all:
            # Not public before Python 3.14 (`kill_workers`), and shutdown alone would wait for minutes.
            for process in list((one._processes or {}).values()):
                process.terminate()
            one.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    def _new() -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(1, mp_context=context, initializer=use_one_thread)
