"""The output table: parquet shards of contrastive pairs, in the order of their indices.

`PairTable` takes pairs in the order in which they finish and writes them in that of their indices, so that the files
do not depend on timing. A shard appears whole (temporary name, fsync, rename) or not at all.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from music.errors import MusicError
from music.pairs import ContrastivePair

__all__ = ["PAIR_SCHEMA", "PairTable", "ShardError", "pair_index", "replace_file", "shard_paths"]

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_CONTRAST = pa.struct([("turn", pa.int64()), ("strategy", pa.string()), ("modified_instruction", pa.string())])
_MODELS = pa.struct([("user", pa.string()), ("assistant", pa.string()), ("contrast", pa.string())])
_USAGE = pa.struct([("num_calls", pa.int64()), ("prompt_tokens", pa.int64()), ("completion_tokens", pa.int64())])

PAIR_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("chosen", _MESSAGES),
        ("rejected", _MESSAGES),
        ("source", pa.string()),
        ("seed_id", pa.string()),
        ("num_seed_messages", pa.int64()),
        ("contrasts", pa.list_(_CONTRAST)),
        ("models", _MODELS),
        ("usage", _USAGE),
        ("seed", pa.int64()),
    ]
)
"""Columns of the output."""

_SHARD_NAME = re.compile(r"pairs-(\d{5})\.parquet")
_TEMPORARY_SUFFIX = ".tmp"


class ShardError(MusicError):
    """The shards of an output directory are not as a run leaves them."""


class PairTable:
    """The shards of one run.

    The last shard may hold fewer rows than the others; a run that goes on replaces it by a fuller one.
    """

    def __init__(self, directory: Path, shard_size: int, failed: Iterable[int]) -> None:
        """Read what an earlier session left.

        Args:
            directory: Where the shards are.
            shard_size: Rows of a full shard.
            failed: Indices that came to no pair.

        Raises:
            ShardError: A shard is missing, unreadable, or holds another number of rows.
        """
        self._directory = directory
        self._shard_size = shard_size
        for left_over in directory.glob(f"*{_TEMPORARY_SUFFIX}"):
            left_over.unlink()
        shards = [_read(path) for path in shard_paths(directory)]
        if any(shard.num_rows != shard_size for shard in shards[:-1]):
            raise ShardError(f"{directory}: expected {shard_size} rows in every shard but the last")
        self._ended = set(failed) | {pair_index(str(id_)) for shard in shards for id_ in shard["id"].to_pylist()}
        self._num_full = sum(shard.num_rows == shard_size for shard in shards)
        self._rows: list[dict[str, Any]] = shards[-1].to_pylist() if len(shards) > self._num_full else []
        self._num_written = sum(shard.num_rows for shard in shards)
        self._waiting: dict[int, dict[str, Any] | None] = {}
        self._next = 0
        self._advance()

    @property
    def ended(self) -> frozenset[int]:
        """Indices whose outcome earlier sessions settled."""
        return frozenset(self._ended)

    @property
    def num_pairs(self) -> int:
        """Pairs on disk."""
        return self._num_written

    def add(self, index: int, pair: ContrastivePair | None) -> None:
        """Take the outcome of one index: a pair, or None where it failed; write the shard that it fills."""
        self._waiting[index] = pair.to_row() if pair is not None else None
        self._advance()
        while len(self._rows) >= self._shard_size:
            self._write(self._rows[: self._shard_size])
            self._num_full += 1
            del self._rows[: self._shard_size]

    def flush(self) -> None:
        """Write the rows that fill no shard yet; pairs that wait for one with a lower index stay out."""
        if self._num_full * self._shard_size + len(self._rows) > self._num_written:
            self._write(self._rows)

    def _advance(self) -> None:
        """Move what is next in order from the waiting pairs to the rows."""
        while self._next in self._waiting or self._next in self._ended:
            row = self._waiting.pop(self._next, None)
            if row is not None:
                self._rows.append(row)
            self._next += 1

    def _write(self, rows: list[dict[str, Any]]) -> None:
        """Write the shard after the full ones."""
        path = self._directory / f"pairs-{self._num_full:05d}.parquet"
        table = pa.Table.from_pylist(rows, schema=PAIR_SCHEMA)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        replace_file(path, sink.getvalue())
        self._num_written = self._num_full * self._shard_size + len(rows)


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
    """Write a file so that it is there whole, on disk, or not at all."""
    temporary = path.with_name(path.name + _TEMPORARY_SUFFIX)
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    if hasattr(os, "O_DIRECTORY"):  # where directories can be opened, the new name must reach the disk too
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read(path: Path) -> pa.Table:
    """Read one shard."""
    try:
        return pq.read_table(path, schema=PAIR_SCHEMA)
    except (OSError, pa.ArrowInvalid) as error:
        raise ShardError(f"cannot read {path} ({error}): delete it, and the journal restores it") from error
