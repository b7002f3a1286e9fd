"""The output table: parquet shards of contrastive pairs, in the order of their indices.

`PairTable` takes pairs in the order in which they finish and writes them in that of their indices, so that the files
do not depend on timing. A shard appears whole (temporary name, fsync, rename) or not at all. `drop_rows` takes back the
rows from one index on.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from music.errors import MusicError
from music.pairs import ContrastivePair
from music_agents.output.schema import PAIR_SCHEMA

__all__ = ["PairTable", "ShardError", "drop_rows", "pair_index", "replace_file", "shard_paths"]

_SHARD_NAME = re.compile(r"pairs-(\d{5})\.parquet")
_TEMPORARY_SUFFIX = ".tmp"


class ShardError(MusicError):
    """The shards of an output directory are not as a run leaves them."""


class PairTable:
    """The shards of one run.

    The last shard may hold fewer rows than the others; a run that goes on replaces it by a fuller one.
    """

    def __init__(
        self, directory: Path, shard_size: int, failed: Iterable[int], order: Iterable[int] | None = None
    ) -> None:
        """Read what an earlier session left.

        Args:
            directory: Where the shards are.
            shard_size: Rows of a full shard.
            failed: Indices that came to no pair.
            order: The indices in the order of the table; by default all from 0.

        Raises:
            ShardError: A shard is missing, unreadable, or holds another number of rows.
        """
        self._directory = directory
        self._shard_size = shard_size
        for left_over in directory.glob(f"*{_TEMPORARY_SUFFIX}"):
            left_over.unlink()
        shards = [_read(path, ["id", "retries", "judgement"]) for path in shard_paths(directory)]
        if any(shard.num_rows != shard_size for shard in shards[:-1]):
            raise ShardError(f"{directory}: expected {shard_size} rows in every shard but the last")
        self._ended = set(failed) | {index for shard in shards for index in _indices(shard)}
        self._num_full = sum(shard.num_rows == shard_size for shard in shards)
        self._num_written = sum(shard.num_rows for shard in shards)
        self._retries, self._judgements = Counter[str](), Counter[str]()
        for shard in shards:
            for row in shard.select(["retries", "judgement"]).to_pylist():
                self._count(row)
        self._rows: list[dict[str, Any]] = []
        if len(shards) > self._num_full:
            self._rows = _read(self._next_path(), PAIR_SCHEMA.names).to_pylist()
        self._waiting: dict[int, dict[str, Any] | None] = {}
        self._order = iter(count() if order is None else order)
        self._next = next(self._order, None)
        self._advance()

    @property
    def ended(self) -> frozenset[int]:
        """Indices whose outcome earlier sessions settled."""
        return frozenset(self._ended)

    @property
    def num_pairs(self) -> int:
        """Pairs on disk."""
        return self._num_written

    @property
    def num_waiting(self) -> int:
        """Indices taken that wait, in memory, for a lower one; start no further pairs while there are too many."""
        return len(self._waiting)

    @property
    def retries(self) -> Counter[str]:
        """Replies that were asked for again, by reason, over all rows in order, those not on disk yet included."""
        return self._retries.copy()

    @property
    def judgements(self) -> Counter[str]:
        """How often the judge said what, likewise; the empty string stands for pairs that were not judged."""
        return self._judgements.copy()

    def add(self, index: int, pair: ContrastivePair | None) -> None:
        """Take the outcome of one index: a pair, or None where it failed; write the shards that it fills.

        Raises:
            MusicError: A shard could not be written; its rows are kept, and `flush` tries again.
        """
        self._waiting[index] = pair.to_row() if pair is not None else None
        self._advance()
        self._write_full()

    def flush(self) -> None:
        """Write the rows that fill no shard yet; pairs that wait for one with a lower index stay out.

        Raises:
            MusicError: They could not be written.
        """
        self._write_full()
        if self._num_full * self._shard_size + len(self._rows) > self._num_written:
            self._write(self._rows)

    def _advance(self) -> None:
        """Move what is next in order from the waiting pairs to the rows."""
        while self._next is not None and (self._next in self._waiting or self._next in self._ended):
            row = self._waiting.pop(self._next, None)
            if row is not None:
                self._rows.append(row)
                self._count(row)
            self._next = next(self._order, None)

    def _count(self, row: dict[str, Any]) -> None:
        """Count what a row tells of its making."""
        self._retries.update(row["retries"])
        self._judgements[row["judgement"]] += 1

    def _write_full(self) -> None:
        """Write the shards that the rows fill."""
        while len(self._rows) >= self._shard_size:
            self._write(self._rows[: self._shard_size])
            self._num_full += 1
            del self._rows[: self._shard_size]

    def _write(self, rows: list[dict[str, Any]]) -> None:
        """Write the shard after the full ones."""
        _write_table(self._next_path(), pa.Table.from_pylist(rows, schema=PAIR_SCHEMA))
        self._num_written = self._num_full * self._shard_size + len(rows)

    def _next_path(self) -> Path:
        """Return where the shard after the full ones is, or is to be."""
        return self._directory / f"pairs-{self._num_full:05d}.parquet"


def drop_rows(directory: Path, first_index: int) -> None:
    """Take back the rows whose index is not below one index; their replies stay in the journal.

    A process that dies on the way leaves shards that a `PairTable` takes.

    Raises:
        ShardError: A shard is missing or unreadable.
        MusicError: A shard could not be written.
    """
    for path in reversed(shard_paths(directory)):  # from the last, so that none is ever missing in between
        indices = _indices(_read(path, ["id"]))
        num_kept = sum(index < first_index for index in indices)
        if num_kept == len(indices):
            return
        if num_kept:
            _write_table(path, _read(path, PAIR_SCHEMA.names).slice(0, num_kept))
        else:
            path.unlink()
            _sync_directory(directory)


def shard_paths(directory: Path) -> list[Path]:
    """Return the shards of a directory in order.

    Raises:
        ShardError: One is missing.
    """
    paths = sorted(path for path in directory.iterdir() if _SHARD_NAME.fullmatch(path.name))
    for number, path in enumerate(paths):
        if path.name != f"pairs-{number:05d}.parquet":
            raise ShardError(f"{directory}: expected pairs-{number:05d}.parquet, found {path.name}; put it back")
    return paths


def pair_index(id_: str) -> int:
    """Return the index that a pair's id ends with."""
    return int(id_.rpartition("-")[2])


def replace_file(path: Path, content: Any) -> None:
    """Write a file so that it is there whole, on disk, or as it was before.

    Raises:
        MusicError: It could not be written: the disk is full, for example.
    """
    temporary = path.with_name(path.name + _TEMPORARY_SUFFIX)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise MusicError(f"could not write {path} ({error}): make room on the disk and run again") from error


def _sync_directory(directory: Path) -> None:
    """Bring a directory's names to the disk, where directories can be opened."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_table(path: Path, table: pa.Table) -> None:
    """Write one shard."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    replace_file(path, sink.getvalue())


def _read(path: Path, columns: list[str]) -> pa.Table:
    """Read columns of one shard."""
    try:
        file = pq.ParquetFile(path)
        if file.schema_arrow != PAIR_SCHEMA:
            raise ShardError(
                f"{path} has other columns than this version writes: end that run with the version that began it, "
                "or give another output directory"
            )
        return file.read(columns)
    except (OSError, pa.ArrowInvalid) as error:
        raise ShardError(f"cannot read {path} ({error}): delete it, and the journal restores it") from error


def _indices(shard: pa.Table) -> list[int]:
    """Return the indices of a shard's rows."""
    return [pair_index(str(id_)) for id_ in shard["id"].to_pylist()]
