"""Reads the rows of a file: parquet, Arrow, JSON lines, JSON or CSV, plain or compressed, in UTF-8 or UTF-16."""

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import orjson

from music.errors import InvalidInputError
from music.preferences.problems import RowError, RowProblem

__all__ = [
    "FILE_NAMES",
    "Row",
    "encoding_of",
    "file_rows",
    "is_data_file",
    "kind_of",
    "parse_line",
    "read_lines",
    "stem_of",
]
__all__ += ["table_rows", "unreadable"]

_KINDS = (".parquet", ".arrow", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")
_COMPRESSED = (".gz", ".zst")
FILE_NAMES = f"{', '.join(_KINDS)}, the last five also {' or '.join(_COMPRESSED)}"
_BATCH_ROWS = 1024
_WRAPPERS = ("data", "rows", "train", "examples", "instances", "samples")
"""The keys under which a file of one JSON object may hold its rows."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file or a hub data set.

    Attributes:
        file: The name of the file, or the hub id.
        unit: "line" if `number` counts the lines of a text file, blank ones included; else "row".
        number: The number of the row, from 1.
        content: The parsed row, or the `RowError` of parsing it.
        span: The number of rows of the file that it stands for.
    """

    file: str
    unit: str
    number: int
    content: Any
    span: int = 1

    @property
    def stem(self) -> str:
        """The file's name without its suffixes, or the last part of the hub id."""
        return stem_of(self.file.rpartition("/")[2])


def kind_of(path: Path) -> str:
    """Return the suffix of a file's kind, in lower case and without that of compression; "" if unknown."""
    name = path.name.lower()
    for suffix in _COMPRESSED:
        name = name.removesuffix(suffix)
    return next((kind for kind in _KINDS if name.endswith(kind)), "")


def is_data_file(path: Path) -> bool:
    """Whether a file's name is that of a data file."""
    return bool(kind_of(path)) and not path.name.startswith((".", "_"))


def stem_of(name: str) -> str:
    """Return a file's name without the suffixes of its kind and compression."""
    kind = kind_of(Path(name))
    return name[: name.lower().rindex(kind)] if kind else name


def file_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file.

    Raises:
        InvalidInputError: The file is of no known kind, or cannot be read to its end.
    """
    kind = kind_of(path)
    if kind in (".parquet", ".arrow"):
        yield from table_rows(path, _parquet_batches(path) if kind == ".parquet" else _arrow_batches(path))
    elif kind:
        yield from _text_rows(path, kind)
    else:
        raise InvalidInputError(f"{path}: expected a file ending in one of {FILE_NAMES}")


def table_rows(path: Path, batches: Iterable[Any], first: int = 1) -> Iterator[Row]:
    """Yield the rows of Arrow batches of a file, of which `first` is the number of the first row."""
    import pyarrow as pa

    number = first - 1
    try:
        for batch in batches:
            for number, content in enumerate(batch.to_pylist(), start=number + 1):  # noqa: B020 - continues to count
                yield Row(path.name, "row", number, content)
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise unreadable(path, kind_of(path)[1:], f"row {number}", error) from error


def _parquet_batches(path: Path) -> Iterator[Any]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=_BATCH_ROWS)


def _arrow_batches(path: Path) -> Iterator[Any]:
    """Yield the batches of an Arrow stream, which `datasets` writes, or of an Arrow file."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        try:
            yield from pa.ipc.open_stream(source)
        except pa.ArrowInvalid:
            file = pa.ipc.open_file(source)
            yield from (file.get_batch(index) for index in range(file.num_record_batches))


def _text_rows(path: Path, kind: str) -> Iterator[Row]:
    number = 0
    try:
        with _open_text(path) as file:
            read = {".json": _json_rows, ".csv": _csv_rows, ".tsv": _csv_rows}.get(kind, read_lines)
            for row in read(path, file):
                number = row.number
                yield row
    except (EOFError, OSError, UnicodeError, zlib.error) as error:
        packed = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix.lower(), "text")
        raise unreadable(path, packed, f"row {number}", error) from error


def _open_text(path: Path) -> IO[str]:
    """Open a file as text; its first bytes determine the encoding. Bytes that are not UTF-8 make their row invalid."""
    file = _open_bytes(path)
    return io.TextIOWrapper(file, encoding=encoding_of(file.peek(4)[:4]), errors="surrogateescape", newline="")


def _open_bytes(path: Path) -> io.BufferedReader:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return io.BufferedReader(cast(io.RawIOBase, gzip.open(path, "rb")))
    if suffix == ".zst":
        import pyarrow as pa

        return io.BufferedReader(cast(io.RawIOBase, pa.input_stream(str(path), compression="zstd")))
    return path.open("rb")


def encoding_of(head: bytes) -> str:
    """Return the encoding of a text file, given its first four bytes."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if b"\0" in head:  # JSON and CSV begin with ASCII
        return "utf-16-be" if head.startswith(b"\0") else "utf-16-le"
    return "utf-8-sig"


def read_lines(path: Path, lines: Iterable[str], first: int = 1) -> Iterator[Row]:
    """Yield the rows of JSON lines of a file, of which `first` is the number of the first line; blank ones are none."""
    for number, line in enumerate(lines, start=first):
        if line.strip():
            yield Row(path.name, "line", number, parse_line(line))


def _json_rows(path: Path, file: IO[str]) -> Iterator[Row]:
    """Yield the rows of a JSON array, of an object that holds one, or of JSON lines."""
    text = file.read()
    whole = parse_line(text)
    if isinstance(whole, dict):
        whole = next((rows for name in _WRAPPERS if isinstance(rows := whole.get(name), list)), [whole])
    if isinstance(whole, list):
        for number, content in enumerate(whole, start=1):
            yield Row(path.name, "row", number, content)
    elif text.lstrip().startswith("["):
        raise InvalidInputError(f"{path}: expected a JSON array of rows, got {whole}")
    else:
        yield from read_lines(path, text.split("\n"))


def _csv_rows(path: Path, file: IO[str]) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    try:
        for number, content in enumerate(csv.DictReader(file, delimiter="\t" if kind_of(path) == ".tsv" else ","), 1):
            content.pop(None, None)  # cells beyond the header's
            yield Row(path.name, "row", number, content)
    except csv.Error as error:
        raise InvalidInputError(f"{path}: expected CSV with a header: {error}") from error


def parse_line(text: str) -> Any:
    """Parse JSON, which may hold NaN and infinities as Python writes them; return a `RowError` if it is invalid."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        fault = error
    if "NaN" in text or "Infinity" in text:
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            pass
    return RowError(RowProblem.INVALID_JSON, "line", expected="a JSON object", got=f"invalid JSON ({fault})")


def unreadable(path: Path, kind: str, after: str, error: Exception) -> InvalidInputError:
    """Return the error of a file that cannot be read to its end."""
    return InvalidInputError(f"{path}: expected a whole {kind} file; reading failed after {after}: {error}")
