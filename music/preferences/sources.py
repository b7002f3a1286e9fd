"""Rows of files, folders and hub data sets, streamed in order, each with its place."""

import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from music.errors import InvalidInputError
from music.preferences.problems import RowError, RowProblem

__all__ = ["Row", "iter_rows"]

_SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".json", ".json.gz")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_BATCH_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        file: Name of the file or the hub id.
        unit: "line" where the number counts the lines of a text file (blank ones too), else "row".
        number: Counted from 1.
        content: The parsed row, or the error that parsing it met.
    """

    file: str
    unit: str
    number: int
    content: Any

    @property
    def stem(self) -> str:
        """The file's name without its suffixes, or the hub id's last part."""
        name = self.file.rpartition("/")[2]
        suffix = next((s for s in sorted(_SUFFIXES, key=len, reverse=True) if name.endswith(s)), "")
        return name.removesuffix(suffix)


def iter_rows(source: str | Path, split: str) -> Iterator[Row]:
    """Yield the rows of a source.

    Args:
        source: A file, a folder of parquet shards (read in the order of their names), or a hub id `owner/name`.
        split: Which split of a hub data set; files have none.

    Raises:
        InvalidInputError: There is no such source, it is of no known kind, or it cannot be read to its end.
    """
    path = Path(source)
    if path.is_dir():
        yield from _folder_rows(path)
    elif path.exists():
        yield from _file_rows(path)
    elif _is_hub_id(source):
        yield from _hub_rows(str(source), split)
    else:
        raise InvalidInputError(
            f"{source}: expected a file, a folder of parquet shards or a hub id (owner/name); found nothing there"
        )


def _is_hub_id(source: str | Path) -> bool:
    """Whether a source that is not there may name a data set; a slip in a local path should not go to the network."""
    looks_local = Path(source).parent.is_dir() or str(source).endswith(_SUFFIXES)
    return isinstance(source, str) and not looks_local and _HUB_ID.fullmatch(source) is not None


def _folder_rows(folder: Path) -> Iterator[Row]:
    shards = sorted(folder.glob("*.parquet"))
    if not shards:
        raise InvalidInputError(f"{folder}: expected a folder that holds parquet files, found none")
    for shard in shards:
        yield from _parquet_rows(shard)


def _file_rows(path: Path) -> Iterator[Row]:
    name = path.name.removesuffix(".gz")
    if path.name.endswith(".parquet"):
        yield from _parquet_rows(path)
    elif name.endswith((".jsonl", ".json")):
        yield from _json_rows(path, may_be_array=name.endswith(".json"))
    else:
        raise InvalidInputError(f"{path}: expected a file ending in one of {', '.join(_SUFFIXES)}")


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for content in batch.to_pylist():
                    number += 1
                    yield Row(path.name, "row", number, content)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, "parquet", f"row {number}", error) from error


def _json_rows(path: Path, may_be_array: bool) -> Iterator[Row]:
    """Yield the rows of JSON lines, or of one JSON array, gzipped or not."""
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            if may_be_array and (text := file.read()).lstrip().startswith(b"["):
                yield from _array_rows(path, text)
                return
            lines: Iterable[bytes] = text.splitlines() if may_be_array else file
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield Row(path.name, "line", number, _parsed(line))
    except (EOFError, OSError, zlib.error) as error:
        kind = "gzip" if path.suffix == ".gz" else "text"
        raise _unreadable(path, kind, f"line {number}", error) from error


def _array_rows(path: Path, text: bytes) -> Iterator[Row]:
    try:
        rows = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"{path}: expected a JSON array of rows, got invalid JSON: {error}") from error
    for number, content in enumerate(rows, start=1):
        yield Row(path.name, "row", number, content)


def _parsed(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return RowError(RowProblem.INVALID_JSON, "line", expected="a JSON object", got=f"invalid JSON ({error})")


def _hub_rows(source: str, split: str) -> Iterator[Row]:
    import datasets

    try:
        rows = datasets.load_dataset(source, split=split)
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"{source}: there is no such file here, and split {split!r} of a data set of this name could not be "
            f"loaded from the hub: {error}"
        ) from error
    for number, content in enumerate(rows, start=1):
        yield Row(source, "row", number, content)


def _unreadable(path: Path, kind: str, after: str, error: Exception) -> InvalidInputError:
    return InvalidInputError(f"{path}: expected a whole {kind} file; reading failed after {after}: {error}")
