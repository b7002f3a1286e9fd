"""Checks the write-ahead log of a journal for damage that SQLite ignores silently.

SQLite reads its log up to the first frame with a wrong checksum. That is right if a crash tore the last write: nothing
relies on those replies yet. Damage before that would lose replies that were used. `check_log` finds it before SQLite
opens the file, by the rules of https://www.sqlite.org/fileformat2.html#walformat.

A log that is cut off between two transactions looks like a shorter log. So a `RowCount` file beside it holds the number
of replies. It is written after the commit that it counts, without a sync of its own: after a crash it may be behind the
log, but never ahead.
"""

import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from music.llm.journal.errors import JournalError

__all__ = ["RowCount", "check_log", "check_row_count", "make_row_count"]

_HEADER_SIZE = 32
_FRAME_HEADER_SIZE = 24
_MAGIC = 0x377F0682  # the lowest bit says in which byte order the checksums were taken


def check_log(path: Path) -> None:
    """Refuse a log that is damaged before its last transaction.

    Raises:
        JournalError: Transactions after the damage would be lost.
    """
    with path.open("rb") as log:
        num_lost = sum(1 for is_readable in _transactions(log) if not is_readable)
    if num_lost > 1:  # one alone is the write that a crash tore
        raise JournalError(
            f"{path} is damaged: at least {num_lost - 1} groups of replies that were paid for cannot be read. "
            f"Put an undamaged copy in its place; or empty that file and delete {str(path).removesuffix('-wal')}-rows, "
            "to resume without what it holds"
        )


def check_row_count(path: Path, connection: sqlite3.Connection) -> None:
    """Refuse a journal with fewer replies than at the end of its last session.

    Args:
        path: The journal.
        connection: The open file, which has read its log.

    Raises:
        JournalError: Replies that were on disk are missing.
    """
    noted = _count_path(path)
    content = noted.read_bytes() if noted.exists() else b""
    num_noted = int(content) if content.isdigit() else 0
    (num_rows,) = connection.execute("SELECT count(*) FROM replies").fetchone()
    if num_rows < num_noted:
        raise JournalError(
            f"{path} has lost {num_noted - num_rows} of {num_noted} replies that were paid for: it or {path.name}-wal "
            f"was cut off or is an older copy. Put undamaged copies of both in their place; or delete {noted}, to "
            "resume without the lost ones"
        )


def make_row_count(path: Path) -> None:
    """Create the file of a journal's `RowCount` if there is none, before the journal is marked as in use.

    Raises:
        OSError: It cannot be created.
    """
    noted = _count_path(path)
    if not noted.exists():
        try:
            noted.write_bytes(_written(0))
        except OSError:
            noted.unlink(missing_ok=True)
            raise


class RowCount:
    """The number of replies of a journal, in a file beside it while the journal is open.

    Args:
        path: The journal.
        num_rows: The number of replies that it holds.
    """

    def __init__(self, path: Path, num_rows: int) -> None:
        self._path, self._log = _count_path(path), path.with_name(path.name + "-wal")
        self._num_rows = 0
        self._file = os.open(self._path, os.O_WRONLY)
        self.add(num_rows)

    def add(self, num_rows: int) -> None:
        """Count rows that are on disk."""
        self._num_rows += num_rows
        with suppress(OSError):  # the count is then too low, which can hide only a loss of the latest rows
            os.pwrite(self._file, _written(self._num_rows), 0)

    def close(self) -> None:
        """Remove the file, unless the closed journal left a log that could be cut."""
        os.close(self._file)
        if not self._log.exists():
            self._path.unlink(missing_ok=True)


def _count_path(path: Path) -> Path:
    return path.with_name(path.name + "-rows")


def _written(num_rows: int) -> bytes:
    return b"%020d" % num_rows


def _transactions(log: BinaryIO) -> Iterator[bool]:
    """Yield for each transaction of the log whether SQLite can read it."""
    header = log.read(_HEADER_SIZE).ljust(_HEADER_SIZE, b"\0")
    magic, _, page_size = struct.unpack_from(">3I", header)
    order = ">" if magic & 1 else "<"
    checksum = _add(header[:24], order, (0, 0))
    if magic | 1 != _MAGIC | 1 or checksum != struct.unpack_from(">2I", header, 24):
        if log.read(1):  # not a torn write: SQLite writes the header to disk before the first frame
            yield from (False, False)
        return
    is_readable = True
    while len(frame := log.read(_FRAME_HEADER_SIZE + page_size)) == _FRAME_HEADER_SIZE + page_size:
        is_of_this_log = frame[8:16] == header[16:24]  # not left over from before the log was restarted
        if is_readable:
            checksum = _add(frame[:8] + frame[_FRAME_HEADER_SIZE:], order, checksum)
            is_readable = is_of_this_log and checksum == struct.unpack_from(">2I", frame, 16)
        if is_of_this_log and frame[4:8] != bytes(4):  # the frame that ends a transaction
            yield is_readable


def _add(content: bytes, order: str, checksum: tuple[int, int]) -> tuple[int, int]:
    """Continue SQLite's checksum over more content."""
    first, second = checksum
    words = struct.unpack(f"{order}{len(content) // 4}I", content)
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
