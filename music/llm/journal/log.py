"""The write-ahead log of a journal: what of it SQLite would pass over in silence.

SQLite reads its log up to the first frame whose checksum is wrong. Where a crash tore the last write that is right:
nobody was told that those replies are safe. Damage further in would cost replies that are; `check_log` finds it, by the
rules of https://www.sqlite.org/fileformat2.html#walformat, before SQLite has touched the file. A log cut off between
two transactions looks like one that was never longer, and passes.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from music.llm.journal.errors import JournalError

__all__ = ["check_log"]

_HEADER_SIZE = 32
_FRAME_HEADER_SIZE = 24
_MAGIC = 0x377F0682  # the lowest bit says in which byte order the checksums were taken


def check_log(path: Path) -> None:
    """Refuse a log that is damaged before its last transaction.

    Raises:
        JournalError: Transactions behind the damage would be lost.
    """
    with path.open("rb") as log:
        num_lost = sum(1 for is_readable in _transactions(log) if not is_readable)
    if num_lost > 1:  # one alone is the write that a crash tore
        raise JournalError(
            f"{path} is damaged: at least {num_lost - 1} groups of replies that were paid for cannot be read. "
            "Put an undamaged copy in its place; or empty that file, to go on without what it holds"
        )


def _transactions(log: BinaryIO) -> Iterator[bool]:
    """Yield for each transaction of the log whether SQLite can read it."""
    header = log.read(_HEADER_SIZE).ljust(_HEADER_SIZE, b"\0")
    magic, _, page_size = struct.unpack_from(">3I", header)
    order = ">" if magic & 1 else "<"
    checksum = _add(header[:24], order, (0, 0))
    if magic | 1 != _MAGIC | 1 or checksum != struct.unpack_from(">2I", header, 24):
        if log.read(1):  # no torn write: SQLite has the header on disk before the first frame
            yield from (False, False)
        return
    is_readable = True
    while len(frame := log.read(_FRAME_HEADER_SIZE + page_size)) == _FRAME_HEADER_SIZE + page_size:
        is_of_this_log = frame[8:16] == header[16:24]  # and not left over from before the log began anew
        if is_readable:
            checksum = _add(frame[:8] + frame[_FRAME_HEADER_SIZE:], order, checksum)
            is_readable = is_of_this_log and checksum == struct.unpack_from(">2I", frame, 16)
        if is_of_this_log and frame[4:8] != bytes(4):  # the frame that ends a transaction
            yield is_readable


def _add(content: bytes, order: str, checksum: tuple[int, int]) -> tuple[int, int]:
    """Carry SQLite's checksum on over further content."""
    first, second = checksum
    words = struct.unpack(f"{order}{len(content) // 4}I", content)
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
