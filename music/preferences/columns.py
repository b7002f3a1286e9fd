"""Further columns of a preference file, by pair: readers of pairs leave them out."""

from pathlib import Path
from typing import Any

from music.errors import InvalidInputError
from music.preferences.rows import read_rows

__all__ = ["read_column"]


def read_column(source: str | Path, name: str, *, split: str | None = None) -> dict[str, Any]:
    """Read one column of a source that `read_preferences` or `read_seeds` reads.

    Returns:
        For each id of a pair or prompt the value in its row; rows without one are left out, and so are bad rows.

    Raises:
        InvalidInputError: The source cannot be read, or no row has such a column.
    """
    values: dict[str, Any] = {}
    seen: dict[str, None] = {}
    for read in read_rows(source, split=split, lone=True):
        if not isinstance(read.row.content, dict):
            continue
        seen |= dict.fromkeys(read.row.content)
        value = read.row.content.get(name)
        if value is not None and read.error is None:
            values |= dict.fromkeys([pair.id for pair in read.pairs] or [read.id], value)
    if name not in seen:
        raise InvalidInputError(f"{source}: expected a column {name!r}; there are {', '.join(seen) or 'no columns'}")
    return values
