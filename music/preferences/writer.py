"""Writes pairs as tables that this package and other trainers read."""

import gzip
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from music.errors import InvalidInputError
from music.files import whole_file
from music.pairs import PreferencePair

__all__ = ["write_preferences", "write_rows"]

_BATCH_ROWS = 1024


def write_preferences(pairs: Iterable[PreferencePair], path: str | Path) -> int:
    """Write the columns `id`, `source`, `chosen` and `rejected` (lists of messages), and return the number of rows.

    Example:
        >>> from music import Conversation, PreferencePair
        >>> asked = Conversation().user("What is 2 + 2?")
        >>> pair = PreferencePair(id="sum", chosen=asked.assistant("4"), rejected=asked.assistant("5"))
        >>> write_preferences([pair], "pairs.parquet")
        1

    The file replaces an earlier one, and appears only when it is complete. The further fields of a `ContrastivePair`
    are not written.

    Args:
        pairs: Any number of pairs; they are streamed.
        path: The path of the file, ending in `.parquet`, `.jsonl` or `.jsonl.gz`.

    Raises:
        InvalidInputError: The path ends otherwise, or a pair has tool messages and the path ends in `.parquet`.
    """
    rows = (
        {
            "id": pair.id,
            "source": pair.source,
            "chosen": pair.chosen.to_messages(),
            "rejected": pair.rejected.to_messages(),
        }
        for pair in pairs
    )
    return _write(rows, Path(path), _WRITERS)


def write_rows(rows: Iterable[Mapping[str, Any]], path: str | Path) -> int:
    """Write rows of any columns as JSON lines, all or none, and return their number.

    Args:
        rows: Any number of rows; they are streamed.
        path: The path of the file, ending in `.jsonl` or `.jsonl.gz`.

    Raises:
        InvalidInputError: The path ends otherwise.
    """
    return _write(iter(rows), Path(path), _LINE_WRITERS)


def _write(rows: Iterator[Mapping[str, Any]], path: Path, writers: Mapping[str, "_Writer"]) -> int:
    write = next((w for suffix, w in writers.items() if path.name.endswith(suffix)), None)
    if write is None:
        raise InvalidInputError(f"{path}: expected a path ending in one of {', '.join(writers)}")
    with whole_file(path) as file:
        return write(rows, file)


def _write_parquet(rows: Iterator[Mapping[str, Any]], file: BinaryIO) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    schema = pa.schema([("id", pa.string()), ("source", pa.string()), ("chosen", messages), ("rejected", messages)])
    num_rows = 0
    with pq.ParquetWriter(file, schema) as writer:
        while batch := list(islice(rows, _BATCH_ROWS)):
            if any(len(message) > 2 for row in batch for side in ("chosen", "rejected") for message in row[side]):
                raise InvalidInputError("expected pairs without tool messages for a table; write them as .jsonl")
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
            num_rows += len(batch)
    return num_rows


def _write_jsonl(rows: Iterator[Mapping[str, Any]], file: BinaryIO) -> int:
    return sum(file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)) > 0 for row in rows)


def _write_jsonl_gz(rows: Iterator[Mapping[str, Any]], file: BinaryIO) -> int:
    with gzip.open(file, "wb") as packed:
        return _write_jsonl(rows, cast(BinaryIO, packed))


_Writer = Callable[[Iterator[Mapping[str, Any]], BinaryIO], int]
_LINE_WRITERS: dict[str, _Writer] = {".jsonl": _write_jsonl, ".jsonl.gz": _write_jsonl_gz}
_WRITERS: dict[str, _Writer] = {".parquet": _write_parquet, **_LINE_WRITERS}
