"""`read_batches`: the records of a file in batches, with what could not be read."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from music.errors import MusicError
from music.preferences.problems import RowError
from music.viewer.records import Record
from music.viewer.rows import UnknownShapeError, read_records
from music.viewer.sources import DataFile, Position, read_rows_from

__all__ = ["Batch", "read_batches"]

_BATCH = 500
_TRIED_ROWS = 50
"""Rows of a file without one that can be shown, after which the file counts as of another kind."""


@dataclass(slots=True)
class Batch:
    """The result of reading some rows of a file."""

    records: list[Record] = field(default_factory=list)
    num_bad: int = 0
    num_unknown: int = 0
    fault: str = ""
    """The first bad row and why."""
    end: Position = field(default_factory=Position)
    is_last: bool = False


def read_batches(file: DataFile, start: Position) -> Iterator[Batch]:
    """Yield the records of a file in batches; a file that cannot be read to its end has a fault in its last one."""
    rows = read_rows_from(file.path, start)
    batch = Batch(end=start)
    size = _TRIED_ROWS
    while not batch.is_last:
        batch = Batch(end=batch.end)
        num = 0
        try:
            for row, batch.end in islice(rows, size):
                num += 1
                try:
                    batch.records += read_records(row, file.data_set)
                except (RowError, UnknownShapeError) as error:
                    batch.num_bad += 1
                    batch.num_unknown += isinstance(error, UnknownShapeError)
                    reason = str(error.__cause__ or error)
                    batch.fault = batch.fault or f"{row.unit} {row.number}: {reason}"
            batch.is_last = num < size
        except (MusicError, OSError) as error:
            batch.fault, batch.is_last = str(error), True
        size = _BATCH
        yield batch
