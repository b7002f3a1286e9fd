"""`ShardFolder`: the parquet shards of a run, with checksums; `PAIR_SCHEMA`: their columns.

The shards load with `datasets.load_dataset("parquet", ...)`, which has no map type, and work with TRL's trainers.
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
# A role without a model is null.
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
    """The shards of an output directory are missing, damaged or not those of the run."""


class ShardFolder:
    """Reads, writes and removes shards, and refuses shards that the run did not write.

    Args:
        directory: The folder of the shards.

    Raises:
        ShardError: The manifest cannot be read.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._manifest = directory / MANIFEST
        if not self._manifest.exists():  # a new run, or one of a version without manifests
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
        """Remove files that a crash left incomplete."""
        for pattern in (PARTIAL_FILES, "*.tmp"):  # older versions left the second
            for left_over in self._directory.glob(pattern):
                left_over.unlink()

    def path(self, number: int) -> Path:
        """Return the path of the shard with a number."""
        return self._directory / f"pairs-{number:05d}.parquet"

    def read(self, path: Path, columns: list[str]) -> pa.Table:
        """Read columns of one shard.

        Raises:
            ShardError: It is damaged, or it is not the shard that the run wrote.
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
        """Write one shard atomically.

        Raises:
            MusicError: It could not be written; the file is unchanged.
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
    """Remove the shards after a missing one: all of them are restored from the journal, at no cost."""
    folder = ShardFolder(directory)
    kept = set(takewhile(Path.exists, map(folder.path, count())))
    for path in sorted(_all_shards(directory), reverse=True):  # from the last, so that a crash leaves the gap
        if path not in kept:
            folder.remove(path)


def drop_rows(directory: Path, first_index: int) -> None:
    """Remove the rows with an index of at least `first_index`; their replies stay in the journal.

    If the process dies meanwhile, the remaining shards are still valid for a `PairTable`.

    Raises:
        ShardError: A shard is missing or unreadable.
        MusicError: A shard could not be written.
    """
    folder = ShardFolder(directory)
    for path in reversed(shard_paths(directory)):  # from the last, so that there is never a gap
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
        ShardError: A shard is missing.
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
