"""Rows that belong together: consecutive ratings of replies to one prompt become one row."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from music.preferences.shapes.rankings import GROUPED
from music.preferences.sources import Row

__all__ = ["grouped"]

_COLUMNS = {"prompt", "response", "helpfulness"}


def grouped(rows: Iterable[Row]) -> Iterator[Row]:
    """Put consecutive rows that rate replies to one prompt (HelpSteer2) together as one row."""
    held: Row | None = None
    for row in rows:
        is_rating = isinstance(row.content, dict) and row.content.keys() >= _COLUMNS
        if held is not None and is_rating and row.content["prompt"] == held.content["prompt"]:
            replies = [*held.content[GROUPED], row.content]
            held = replace(held, content=held.content | {GROUPED: replies}, span=held.span + 1)
            continue
        if held is not None:
            yield held
        held = replace(row, content=row.content | {GROUPED: [row.content]}) if is_rating else None
        if held is None:
            yield row
    if held is not None:
        yield held
