"""`Block`: consecutive rows of a file, which are read without the rows before them.

`file_blocks` divides a file into blocks, and `block_rows` reads one. Only parquet files and plain JSON lines are
divided. Any other file is one block, and so is a file of which consecutive rows are combined (HelpSteer2).
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from music.config import Config
from music.errors import InvalidInputError
from music.preferences.files import encoding_of, file_rows, parse_line, read_lines, table_rows, unreadable
from music.preferences.shapes.comparisons import is_rating
from music.preferences.sources import Row

__all__ = ["Block", "block_rows", "file_blocks"]

_BATCH_ROWS = 1024
_BUFFER_BYTES = 1 << 20


class Block(Config):
    """Consecutive rows of a file."""

    path: Path
    first: int = 1
    """Number of the first row, or of the first line of a text file."""
    num_rows: int | None = None
    """Number of rows; None for a whole file of unknown length."""
    start: int = 0
    """Place of the first line in the file, in bytes."""
    end: int | None = None
    """Place after the last line, in bytes; None for tables and whole files."""


def file_blocks(path: Path, max_rows: int) -> list[Block]:
    """Divide a file into blocks of at most `max_rows` rows; a file that is not divided is one block.

    Raises:
        InvalidInputError: The file is damaged.
    """
    match path.suffix.lower():
        case ".parquet":
            return _table_blocks(path, max_rows)
        case ".jsonl" | ".ndjson":
            return _line_blocks(path, max_rows)
        case _:
            return [Block(path=path)]


def block_rows(block: Block) -> Iterator[Row]:
    """Yield the rows of a block, with their places in the file.

    Raises:
        InvalidInputError: The file is damaged, or rows of one reply each, which are combined, follow rows of another
            shape in a divided file.
    """
    if block.num_rows is None:
        yield from file_rows(block.path)
        return
    for row in _rows_of_table(block) if block.end is None else _rows_of_lines(block, block.end):
        if isinstance(row.content, dict) and is_rating(row.content):
            raise InvalidInputError(
                f"{block.path}, {row.unit} {row.number}: expected rows of one shape, got a rated reply, which is "
                "compared with its neighbours; put such rows into a file of their own"
            )
        yield row


def _table_blocks(path: Path, max_rows: int) -> list[Block]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            num_rows, columns = file.metadata.num_rows, file.schema_arrow.names
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, "parquet", "row 0", error) from error
    if num_rows and is_rating(columns):
        return [Block(path=path)]
    starts = range(0, num_rows, max_rows)
    return [Block(path=path, first=start + 1, num_rows=min(max_rows, num_rows - start)) for start in starts]


def _rows_of_table(block: Block) -> Iterator[Row]:
    return table_rows(block.path, _batches(block), block.first)


def _batches(block: Block) -> Iterator[Any]:
    """Yield the batches of a block; only row groups that overlap it are read."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(block.path, buffer_size=_BUFFER_BYTES) as file:
        place, groups, skipped = 0, [], 0
        begin, left = block.first - 1, block.num_rows or 0
        for group in range(file.num_row_groups):
            num_rows = file.metadata.row_group(group).num_rows
            if place + num_rows <= begin:
                skipped = place + num_rows
            elif place < begin + left:
                groups.append(group)
            place += num_rows
        skip = begin - skipped
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, row_groups=groups):
            own = batch.slice(skip, left)
            skip, left = max(0, skip - len(batch)), left - len(own)
            yield own
            if not left:
                return


def _line_blocks(path: Path, max_rows: int) -> list[Block]:
    blocks: list[Block] = []
    with path.open("rb") as file:
        if encoding_of(file.peek(4)[:4]) != "utf-8-sig":
            return [Block(path=path)]
        first, start, end, num_rows = 1, 0, 0, 0
        for number, line in enumerate(file, start=1):
            if not blocks and not num_rows and _is_of_rating(line):
                return [Block(path=path)]
            if b"\r" in line.removesuffix(b"\r\n"):  # a line break within the line, as old systems write them
                return [Block(path=path)]
            end += len(line)
            num_rows += not line.isspace()
            if num_rows == max_rows:
                blocks.append(Block(path=path, first=first, num_rows=num_rows, start=start, end=end))
                first, start, num_rows = number + 1, end, 0
    return [*blocks, Block(path=path, first=first, num_rows=num_rows, start=start, end=end)] if num_rows else blocks


def _is_of_rating(line: bytes) -> bool:
    content = parse_line(line.decode("utf-8-sig", errors="surrogateescape"))
    return isinstance(content, dict) and is_rating(content)


def _rows_of_lines(block: Block, end: int) -> Iterator[Row]:
    with block.path.open("rb") as file:
        file.seek(block.start)
        content = io.BytesIO(file.read(end - block.start))
    encoding = "utf-8" if block.start else "utf-8-sig"
    lines = io.TextIOWrapper(content, encoding=encoding, errors="surrogateescape", newline="")
    return read_lines(block.path, lines, block.first)
