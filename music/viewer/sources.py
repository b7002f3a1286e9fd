"""`DataFile`: which files a viewer shows, and reading them from where an earlier reading stopped.

A folder stands for all data files in it and below it. A simulation in shares has its pairs twice: in the folders of its
shares, and where they are merged. The shares are shown while it runs, the merged files afterwards. Files may grow: rows
that were read are not read again. A file of which they have changed is read from its beginning.
"""

import hashlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import orjson

from music.errors import InvalidInputError
from music.names import nearest_path
from music.preferences.files import FILE_NAMES, Row, encoding_of, file_rows, is_data_file, kind_of, parse_line
from music.preferences.problems import RowError
from music.preferences.shapes.comparisons import grouped

__all__ = [
    "SHARES",
    "SHARE_PREFIX",
    "DataFile",
    "Position",
    "can_continue",
    "find_files",
    "read_rows_from",
    "require_sources",
]

_TABLES = (".parquet", ".arrow", ".jsonl", ".ndjson")
"""Kinds of files that hold rows; a folder's other files, such as reports, are read only if it has none of these."""
SHARES, SHARE_PREFIX = "shares.json", "share-"
"""The file that marks the folder of a simulation in shares, and how the names of their folders begin."""
_HEAD = 4096
_TAIL = 256
_MAX_LINE = 64 * 2**20


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file to show.

    Attributes:
        path: Its absolute path.
        data_set: The name under which its records are listed: shards of one folder share one.
        is_named: Whether the user named the file, not its folder.
    """

    path: Path
    data_set: str
    is_named: bool


@dataclass(frozen=True, slots=True)
class Position:
    """Where reading of a file continues.

    Attributes:
        offset: The number of bytes read of a file of lines; 0 for others.
        line: The number of lines read, or of rows.
        seen: A hash of the beginning and the end of what was read of a file of lines, or of all rows read, by which a
            file that was replaced or edited is recognised.
    """

    offset: int = 0
    line: int = 0
    seen: str = ""


def require_sources(sources: Sequence[str]) -> None:
    """Refuse sources that do not exist, before anything is served.

    Raises:
        InvalidInputError: A source is neither a file nor a folder, or is a file of another kind.
    """
    for source in sources:
        path = Path(source).expanduser()
        if path.is_dir():
            continue
        if not path.is_file():
            raise InvalidInputError(
                f"{source}: expected a file of pairs or a folder; there is nothing there{nearest_path(source)}"
            )
        if not kind_of(path):
            raise InvalidInputError(f"{source}: expected a file ending in one of {FILE_NAMES}")


def find_files(sources: Sequence[str]) -> list[DataFile]:
    """Return the data files of sources that exist now, each once, in the order of the sources and of their names."""
    found: dict[Path, DataFile] = {}
    for source in sources:
        path = Path(source).expanduser().absolute()
        for each in _files_of(path, source):
            found.setdefault(each.path, each)
    return list(found.values())


def read_rows_from(path: Path, start: Position) -> Iterator[tuple[Row, Position]]:
    """Yield the rows of a file after a position, each with the position after it.

    Args:
        path: The file.
        start: The end of an earlier reading, if `can_continue`; else the beginning.

    Raises:
        InvalidInputError: The file cannot be read to its end.
    """
    if not _is_lines(path):
        yield from islice(_hashed_rows(path), start.line, None)
        return
    ends: deque[Position] = deque()
    for row in grouped(_line_rows(path, start, ends)):
        yield row, [ends.popleft() for _ in range(row.span)][-1]


def _line_rows(path: Path, start: Position, ends: deque[Position]) -> Iterator[Row]:
    """Yield the rows of a file of lines, adding the position after each to `ends`."""
    with path.open("rb") as file:
        head, tail = _head_of(path), _tail_of(file, start.offset)
        is_begun = bool(tail) and not tail.endswith(b"\n")
        offset, number = start.offset, start.line - is_begun  # the rest of that line is still its own
        while line := file.readline(_MAX_LINE):
            content = parse_line(line.decode("utf-8-sig", "surrogateescape")) if line.strip() else None
            if not line.endswith(b"\n") and isinstance(content, RowError):
                return  # it is being written
            offset, number = offset + len(line), number + 1
            tail = (tail + line[-_TAIL:])[-_TAIL:]
            if line.strip():
                ends.append(Position(offset, number, _hash(head + tail)))
                yield Row(path.name, "line", number, content)


def can_continue(path: Path, size: int, at: Position) -> bool:
    """Whether a file that changed has only grown since it was read to a position.

    A shard of a running simulation is written anew as it grows, so all rows that were read are compared.
    """
    if _is_lines(path):
        with path.open("rb") as file:
            return 0 < at.offset <= size and _hash(_head_of(path, at.offset) + _tail_of(file, at.offset)) == at.seen
    try:
        return at.line > 0 and any(place == at for _, place in islice(_hashed_rows(path), at.line - 1, at.line))
    except InvalidInputError:  # it is torn
        return False


def _hashed_rows(path: Path) -> Iterator[tuple[Row, Position]]:
    """Yield the rows of a file that is not one of lines, each with the position after it."""
    digest = hashlib.sha256()
    for number, row in enumerate(grouped(file_rows(path)), start=1):
        digest.update(repr(row.content).encode("utf-8", "surrogatepass"))
        yield row, Position(0, number, digest.hexdigest())


def _head_of(path: Path, limit: int = _HEAD) -> bytes:
    """Return the first line of a file, or the beginning of a long one."""
    with path.open("rb") as file:
        return file.readline(min(limit, _HEAD))


def _tail_of(file: BinaryIO, offset: int) -> bytes:
    """Return the last bytes of a file before an offset, and go there."""
    file.seek(max(0, offset - _TAIL))
    return file.read(min(offset, _TAIL))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _is_lines(path: Path) -> bool:
    """Whether a file is one of plain JSON lines in UTF-8."""
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        return False
    with path.open("rb") as file:
        return encoding_of(file.read(4)) == "utf-8-sig"


def _files_of(path: Path, source: str) -> Iterator[DataFile]:
    if not path.is_dir():
        if path.is_file():
            yield DataFile(path, source, is_named=True)
        return
    name = source.rstrip("/") or source
    for folder, files in _folders(path):
        tables = [each for each in files if kind_of(each) in _TABLES]
        place = folder.relative_to(path)
        data_set = name if place == Path() else f"{name}/{place.as_posix()}"
        for each in tables or (files if folder == path else []):
            is_shard = kind_of(each) in (".parquet", ".arrow")
            yield DataFile(each, data_set if is_shard else f"{data_set}/{each.name}", is_named=False)


def _folders(path: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Yield the folders from `path` down, each with its data files; hidden folders are left out."""
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        files = [Path(folder, name) for name in sorted(names)]
        if SHARES in names:
            if _is_running(Path(folder)):
                files = []
            else:
                folders[:] = [name for name in folders if not name.startswith(SHARE_PREFIX)]
        yield Path(folder), [each for each in files if is_data_file(each)]


def _is_running(folder: Path) -> bool:
    """Whether a simulation in shares is not merged yet; one that was killed counts as running."""
    try:
        return bool(orjson.loads((folder / "run.json").read_bytes())["status"] == "running")
    except (OSError, ValueError, KeyError, TypeError):  # it has only begun
        return True
