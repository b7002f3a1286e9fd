"""`BatchWriter`: writes rows to the disk, many of them with one fsync.

One thread commits the rows that have arrived since its last commit. A single row is written at once, and batches grow
as more callers wait.
"""

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from music.llm.journal.errors import JournalError
from music.llm.journal.tables import Row

__all__ = ["BatchWriter"]

_BAD_ROW = (sqlite3.IntegrityError, sqlite3.DataError, UnicodeEncodeError, OverflowError)
"""Errors of one row, which must not fail the others of its batch."""

_WAKE_AT_ONCE = 32
"""Most callers that wake in one round of the event loop, which is blocked until each of them has run."""

_Batch = Sequence[tuple[Row, asyncio.Future[None]]]
"""Rows, each with the future that its caller waits for."""
_Errors = Mapping[int, BaseException]
"""Errors of rows that were not written, by their place in the batch."""


class BatchWriter:
    """Writes rows of one table. Use it from one event loop.

    Args:
        path: The file, for messages.
        connection: The open file, which the caller closes.
        connection_lock: Held while the connection is used.
        insert: The SQL that inserts a row.
        on_written: Called in the event loop with each row that is on disk.
        on_commit: Called in the thread with the number of rows of each commit.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        connection_lock: threading.Lock,
        insert: str,
        on_written: Callable[[Row], None],
        on_commit: Callable[[int], None] = lambda _: None,
    ) -> None:

        self._path = path
        self._connection = connection
        self._connection_lock = connection_lock
        self._insert = insert
        self._on_written = on_written
        self._on_commit = on_commit
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        # Only the event loop uses these three. The thread gets whole batches and never sees a growing list.
        self._gathered: list[tuple[Row, asyncio.Future[None]]] = []
        self._writing: asyncio.Future[_Errors] | None = None
        self._asleep: deque[tuple[asyncio.Future[None], BaseException | None]] = deque()

    async def put(self, row: Row) -> None:
        """Write one row; return once it is on disk.

        Raises:
            JournalError: It could not be written.
        """
        loop = asyncio.get_running_loop()
        if not self._gathered and self._writing is None:
            loop.call_soon(self._commit)  # not at once: rows of the same round of the loop share the commit
        written = loop.create_future()
        self._gathered.append((row, written))
        await written

    async def drain(self) -> None:
        """Return once every row is written and every caller has woken."""
        while self._gathered or self._writing is not None:
            self._commit()
            assert self._writing is not None
            await asyncio.wait([self._writing])
        if self._asleep:
            await asyncio.wait([written for written, _ in self._asleep])

    def close(self) -> None:
        """End the thread, then write the rows that an interrupted `drain` left."""
        self._thread.shutdown()
        if self._gathered:
            batch, self._gathered = self._gathered, []
            try:
                self._settle(batch, self._write(batch))
            except sqlite3.Error as error:
                self._settle(batch, dict.fromkeys(range(len(batch)), error))

    def _commit(self) -> None:
        """Pass the gathered rows to the thread, unless it is busy or there are none."""
        if self._writing is None and self._gathered:
            batch, self._gathered = self._gathered, []
            self._writing = asyncio.get_running_loop().run_in_executor(self._thread, self._write, batch)
            self._writing.add_done_callback(partial(self._finish, batch))

    def _finish(self, batch: _Batch, writing: asyncio.Future[_Errors]) -> None:
        """Settle a batch that the thread has written, and start the next one."""
        self._writing = None
        error = writing.exception()
        self._settle(batch, writing.result() if error is None else dict.fromkeys(range(len(batch)), error))
        self._commit()

    def _settle(self, batch: _Batch, errors: _Errors) -> None:
        """Report the rows on disk, and wake the callers of a batch."""
        is_waking = bool(self._asleep)
        for place, (row, written) in enumerate(batch):
            error = errors.get(place)
            if error is None:
                self._on_written(row)
            self._asleep.append((written, error))
        if not is_waking:
            self._wake()

    def _wake(self) -> None:
        """Wake a limited number of callers, and schedule the next ones."""
        for _ in range(min(_WAKE_AT_ONCE, len(self._asleep))):
            written, error = self._asleep.popleft()
            if written.done():  # its caller was cancelled
                continue
            if error is None:
                written.set_result(None)
            else:
                written.set_exception(_write_error(self._path, error))
        if self._asleep:
            self._asleep[0][0].get_loop().call_soon(self._wake)

    def _write(self, batch: _Batch) -> _Errors:
        """Commit one batch without its invalid rows (in the thread)."""
        with self._connection_lock:
            try:
                with self._connection:
                    self._connection.executemany(self._insert, (row for row, _ in batch))
                errors: _Errors = {}
            except _BAD_ROW:
                errors = self._write_singly(batch)
        self._on_commit(len(batch) - len(errors))
        return errors

    def _write_singly(self, batch: _Batch) -> _Errors:
        """Commit the valid rows of a batch; return the errors of the others."""
        errors: dict[int, BaseException] = {}
        with self._connection:
            for place, (row, _) in enumerate(batch):
                try:
                    self._connection.execute(self._insert, row)
                except _BAD_ROW as error:
                    errors[place] = error
        return errors


def _write_error(path: Path, error: BaseException) -> JournalError:
    """Return the error for a row that could not be written."""
    if isinstance(error, sqlite3.IntegrityError):
        message = f"two replies under one request key in {path}: each request needs its own key ({error})"
    elif isinstance(error, _BAD_ROW):
        message = f"{path} cannot hold a reply ({error}): its text must be valid Unicode of less than a gigabyte"
    else:
        message = f"could not write to {path} ({error}): make room on the disk and run again"
    wrapped = JournalError(message)
    wrapped.__cause__ = error
    return wrapped
