"""The columns of the output table of a simulation.

They load with `datasets.load_dataset("parquet", ...)`, which knows no map type, and feed TRL's trainers as they are.
"""

import hashlib
import re
from collections.abc import Iterator
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from music.errors import MusicError
from music.files import PARTIAL_FILES, remove_file, replace_file

__all__ = [
    "PAIR_SCHEMA",
    "ShardError",
    "ShardFolder",
    "close_gap",
    "drop_rows",
    "has_rows",
    "pair_index",
    "shard_indices",
    "shard_paths",
]

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_CONTRAST = pa.struct(
    [
        ("turn", pa.int64()),
        ("strategy", pa.string()),
        ("modified_instruction", pa.string()),
        ("parameters", pa.string()),
    ]
)
# A role that a run does without is null.
_MODELS = pa.struct([(role, pa.string()) for role in ("user", "assistant", "contrast", "weaker", "judge")])
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
        ("persona", pa.string()),
        ("retries", pa.list_(pa.string())),
        ("judgement", pa.string()),
    ]
)
"""Columns of the output; a contrast's `parameters` and the `persona` are JSON objects."""


MANIFEST = "manifest.json"
_SHARD_NAME = re.compile(r"pairs-\d{5}\.parquet")
_CHECKSUMS = TypeAdapter(dict[str, list[str]])


class ShardError(MusicError):
    """The shards of an output directory are not as a run leaves them."""


class ShardFolder:
    """Reads, writes and removes shards, and refuses what the run did not write.

    Args:
        directory: Where the shards are.

    Raises:
        ShardError: The manifest cannot be read.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._manifest = directory / MANIFEST
        if not self._manifest.exists():  # nothing is written yet, or by a version without manifests: taken as it is
            self._checksums = {path.name: [_checksum(path.read_bytes())] for path in _all_shards(directory)}
            return
        try:
            self._checksums = _CHECKSUMS.validate_json(self._manifest.read_bytes())
        except ValidationError as error:
            raise ShardError(
                f"{self._manifest}: expected lists of checksums by shard ({error}): delete it, and shards are taken as "
                "they are"
            ) from error

    def remove_torn(self) -> None:
        """Remove what a crash left half written."""
        for pattern in (PARTIAL_FILES, "*.tmp"):  # the second is what older versions left
            for left_over in self._directory.glob(pattern):
                left_over.unlink()

    def path(self, number: int) -> Path:
        """Return where the shard with a number is, or is to be."""
        return self._directory / f"pairs-{number:05d}.parquet"

    def read(self, path: Path, columns: list[str]) -> pa.Table:
        """Read columns of one shard.

        Raises:
            ShardError: It is damaged, or not the one that the run wrote there.
        """
        remedy = "delete it, and running the same command again restores it from the journal"
        try:
            content = path.read_bytes()
            checksum = _checksum(content)
            if checksum not in self._checksums.get(path.name, []):
                raise ShardError(f"{path} is damaged, or is not the shard that this run wrote there: {remedy}")
            self._checksums[path.name] = [checksum]
            file = pq.ParquetFile(pa.BufferReader(content))
            if file.schema_arrow != PAIR_SCHEMA:
                raise ShardError(
                    f"{path} has other columns than this version writes: end that run with the version that began it, "
                    "or give another output directory"
                )
            return file.read(columns)
        except (OSError, pa.ArrowInvalid) as error:
            raise ShardError(f"cannot read {path} ({error}): {remedy}") from error

    def write(self, path: Path, table: pa.Table) -> None:
        """Write one shard, whole or not at all.

        Raises:
            MusicError: It could not be written; what was there before is as it was.
        """
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        content = sink.getvalue()
        checksum = _checksum(content)
        there = self._checksums.get(path.name, [])[:1] if path.exists() else []
        checksums = self._checksums | {path.name: [checksum, *there]}
        replace_file(self._manifest, orjson.dumps(checksums, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
        replace_file(path, content)
        self._checksums[path.name] = [checksum]

    def remove(self, path: Path) -> None:
        """Remove one shard."""
        remove_file(path)
        self._checksums.pop(path.name, None)


def close_gap(directory: Path) -> None:
    """Remove the shards behind one that is missing: all of them are made again from the journal, at no cost."""
    folder = ShardFolder(directory)
    kept = set(takewhile(Path.exists, map(folder.path, count())))
    for path in sorted(_all_shards(directory), reverse=True):  # from the last, so that a crash leaves the gap
        if path not in kept:
            folder.remove(path)


def drop_rows(directory: Path, first_index: int) -> None:
    """Take back the rows whose index is not below one index; their replies stay in the journal.

    A process that dies on the way leaves shards that a `PairTable` takes.

    Raises:
        ShardError: A shard is missing or unreadable.
        MusicError: A shard could not be written.
    """
    folder = ShardFolder(directory)
    for path in reversed(shard_paths(directory)):  # from the last, so that none is ever missing in between
        indices = shard_indices(folder.read(path, ["id"]))
        num_kept = sum(index < first_index for index in indices)
        if num_kept == len(indices):
            return
        if num_kept:
            folder.write(path, folder.read(path, PAIR_SCHEMA.names).slice(0, num_kept))
        else:
            folder.remove(path)


def shard_paths(directory: Path) -> list[Path]:
    """Return the shards of a directory in order.

    Raises:
        ShardError: One is missing.
    """
    paths = sorted(_all_shards(directory))
    for number, path in enumerate(paths):
        if path.name != f"pairs-{number:05d}.parquet":
            raise ShardError(
                f"{directory}: pairs-{number:05d}.parquet is missing, {path.name} is there: put it back, or run the "
                "same command again, which restores it from the journal"
            )
    return paths


def has_rows(directory: Path) -> bool:
    """Whether a directory holds shards."""
    return any(_all_shards(directory))


def pair_index(id_: str) -> int:
    """Return the index that a pair's id ends with."""
    return int(id_.rpartition("-")[2])


def shard_indices(shard: pa.Table) -> list[int]:
    """Return the indices of a shard's rows."""
    return [pair_index(str(id_)) for id_ in shard["id"].to_pylist()]


def _all_shards(directory: Path) -> Iterator[Path]:
    return (path for path in directory.iterdir() if _SHARD_NAME.fullmatch(path.name))


def _checksum(content: Any) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
