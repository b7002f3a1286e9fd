"""Further columns of a preference file, by pair: readers of pairs leave them out."""

from pathlib import Path
from typing import Any

from music.errors import InvalidInputError
from music.preferences.formats import row_id
from music.preferences.problems import RowError
from music.preferences.sources import iter_rows

__all__ = ["read_column"]


def read_column(source: str | Path, name: str, *, split: str = "train") -> dict[str, Any]:
    """Read one column of a preference file, folder or hub data set.

    Returns:
        For each pair id the value in its row; rows without one are left out, and so are rows that are no objects.

    Raises:
        InvalidInputError: The source cannot be read, no row has such a column, or two rows of one id differ in it.
    """
    values: dict[str, Any] = {}
    seen: dict[str, None] = {}
    for row in iter_rows(source, split):
        if not isinstance(row.content, dict):
            continue
        seen |= dict.fromkeys(row.content)
        if (value := row.content.get(name)) is None:
            continue
        try:
            id_ = row_id(row, row.content)
        except RowError:
            continue
        if values.setdefault(id_, value) != value:
            raise InvalidInputError(
                f"{source}, {row.unit} {row.number}, {name}: another row of id {id_!r} says otherwise"
            )
    if name not in seen:
        raise InvalidInputError(f"{source}: expected a column {name!r}; there are {', '.join(seen) or 'no columns'}")
    return values
