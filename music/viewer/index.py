"""`Index`: lists, searches and opens records, without their files.

Any number of threads may read it while another process writes. Scores and labels are added as extra values by name, and
lists can be filtered and sorted by them.
"""

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson

from music.viewer.database import connect
from music.viewer.labels import LabelStore
from music.viewer.listing import FileState, Listed, Listing, Neighbours
from music.viewer.query import FILTERS, PAGE_SIZE, Query, Sort
from music.viewer.query_sql import COLUMNS, SEARCHED, TEXT_KEY, Part, condition_of, parts_of
from music.viewer.records import Record, text_key, unpack
from music.viewer.rewards import PairRewards

__all__ = ["Index"]

_RARE = 20
"""Matches are sorted one by one if they are fewer than one in so many records."""
_MAX_OPTIONS = 200
"""The most frequent values of a filter that are offered."""
_LISTED = "number, key, id, kind, data_set, source, title, turns, diverging, chosen, rejected, gap, strategies"


class Index:
    """An index that an `IndexWriter` writes.

    Args:
        path: Its file.
        labels: The labels that lists are filtered by.
    """

    def __init__(self, path: Path, labels: LabelStore | None = None) -> None:
        self.path, self._labels = path, labels
        self._own = threading.local()

    def listing(self, query: Query) -> Listing:
        """Return a page of a list."""
        numbers = self._column("records.number", query, PAGE_SIZE, (query.page - 1) * PAGE_SIZE)
        marks = ", ".join("?" * len(numbers))
        rows = self._all(f"SELECT {_LISTED} FROM records WHERE number IN ({marks})", tuple(numbers))
        listed = {each.number: each for each in map(_listed, rows)}
        return Listing(tuple(listed[each] for each in numbers if each in listed), self._num_matches(query))

    def keys(self, query: Query, limit: int) -> list[str]:
        """Return the keys of the first records of a list, whatever its page; of all if the limit is -1."""
        return self._column("records.key", query, limit)

    def record(self, key: str) -> Record | None:
        """Return the record of a key; None for none."""
        rows = self._all("SELECT body FROM records JOIN bodies USING (number) WHERE key = ?", (key,))
        return unpack(rows[0][0]) if rows else None

    def records(self, keys: Iterable[str]) -> Iterator[tuple[str, Record]]:
        """Yield the pairs of text keys, each once, in the order of the files."""
        found = self._all(
            f"SELECT min(number) FROM records WHERE kind = 'pair' AND {TEXT_KEY} IN (SELECT value FROM json_each(?)) "
            f"GROUP BY {TEXT_KEY} ORDER BY 1",
            (orjson.dumps(list(keys)).decode(),),
        )
        for number in found:
            rows = self._all("SELECT key, body FROM records JOIN bodies USING (number) WHERE number = ?", number)
            yield from ((key, unpack(body)) for key, body in rows)

    def neighbours(self, key: str, query: Query) -> Neighbours:
        """Return the records before and after one in a list."""
        parts = self._parts(query)
        for number, part in enumerate(parts):
            if place := self._all(part.place(), (*part.own_arguments, key)):
                before, after = parts[:number][::-1], parts[number + 1 :]
                return Neighbours(
                    self._beyond(part, place[0], before, forward=False),
                    self._beyond(part, place[0], after, forward=True),
                )
        return Neighbours(None, None)

    def keys_of(self, ids: Iterable[str]) -> dict[str, str]:
        """Return the key of the first record of each id that there is."""
        rows = self._all(
            "SELECT id, key FROM records WHERE id IN (SELECT value FROM json_each(?)) ORDER BY number DESC",
            (orjson.dumps(list(ids)).decode(),),
        )
        return dict(rows)

    def newest_pairs(self, folder: str, limit: int) -> list[Listed]:
        """Return the pairs that were read last from files below a folder, the latest first."""
        path = os.path.join(folder, "")
        rows = self._all(
            f"SELECT {_LISTED} FROM records WHERE kind = 'pair' AND substr(file, 1, ?) = ? "
            "ORDER BY number DESC LIMIT ?",
            (len(path), path, limit),
        )
        return [_listed(row) for row in rows]

    def options(self) -> dict[str, list[tuple[str, int]]]:
        """Return the values of each filter with the number of their records; if many, the most frequent."""
        options = {name: self._counts(name) for name in COLUMNS}
        strategies: dict[str, int] = {}
        for joined, num in self._counts("strategies"):
            for name in filter(None, joined.split("\n")):
                strategies[name] = strategies.get(name, 0) + num
        options["strategy"] = sorted(strategies.items())
        return {name: options[name] for name in FILTERS}

    def files(self) -> list[FileState]:
        """Return the files of the index."""
        rows = self._all("SELECT path, num_records, num_bad, problem, is_other, is_whole FROM files ORDER BY path")
        return [FileState(*row) for row in rows]

    def num_records(self) -> int:
        """Return the number of records so far."""
        num: int = self._all("SELECT ifnull(sum(num), 0) FROM counts WHERE name = 'kind'")[0][0]
        return num

    def is_whole(self) -> bool:
        """Whether all files have been read once, so that only new rows are to come."""
        return bool(self._all("SELECT 1 FROM state WHERE name = 'is_whole'")) and all(
            file.is_whole for file in self.files()
        )

    def extras(self, key: str) -> dict[str, float | str]:
        """Return the extra values of a record by name."""
        return dict(self._all("SELECT name, value FROM extras WHERE key = ? ORDER BY name", (text_key(key),)))

    def extra_names(self) -> list[str]:
        """Return the names of all extra values."""
        return [name for (name,) in self._all("SELECT DISTINCT name FROM extras ORDER BY name")]

    def rewards(self, fingerprint: str, key: str) -> PairRewards | None:
        """Return the rewards of a pair by a model; None if it is not scored yet."""
        rows = self._all("SELECT body FROM rewards WHERE model = ? AND key = ?", (fingerprint, text_key(key)))
        return PairRewards.unpack(rows[0][0]) if rows else None

    def values(self, name: str, keys: Iterable[str]) -> dict[str, Any]:
        """Return the extra values of a name by text key, of those keys that have one."""
        found = self._all(
            "SELECT key, value FROM extras WHERE name = ? AND key IN (SELECT value FROM json_each(?))",
            (name, orjson.dumps(list(keys)).decode()),
        )
        return dict(found)

    def present(self, keys: Iterable[str]) -> dict[str, int]:
        """Return those text keys that pairs have, each with its number of turns."""
        found = self._all(
            f"SELECT {TEXT_KEY}, turns FROM json_each(?) JOIN records "
            "ON records.key >= value AND records.key < value || '.' WHERE kind = 'pair'",
            (orjson.dumps(list(keys)).decode(),),
        )
        return dict(found)

    def _parts(self, query: Query) -> list[Part]:
        is_sorted = query.sort not in (Sort.FILE, Sort.NEWEST) and not query.match
        is_rare = is_sorted and query.is_filtered and _RARE * self._num_matches(query) < self.num_records()
        return parts_of(query, self._labels, is_rare=is_rare)

    def _column(self, column: str, query: Query, limit: int, skip: int = 0) -> list[Any]:
        """Return a column of a list, from a row on."""
        found: list[Any] = []
        for part in self._parts(query):
            rows = self._all(part.select(column), (*part.arguments, max(-1, limit - len(found)), skip))
            found += [value for (value,) in rows]
            if len(found) == limit:
                break
            if skip and not rows:
                skip -= self._all(f"SELECT count(*) FROM {part.tables} WHERE {part.where}", part.arguments)[0][0]
            else:
                skip = 0
        return found

    def _num_matches(self, query: Query) -> int:
        """Return the number of records of a list; that of a single filter is known."""
        if not (filters := query.filters):
            return self.num_records()
        (first, *others) = filters.items()
        if first[0] in COLUMNS and not others:
            num: int = self._all("SELECT ifnull(sum(num), 0) FROM counts WHERE name = ? AND value = ?", first)[0][0]
            return num
        where, values = condition_of(query, self._labels)
        tables = SEARCHED if query.match else "records"
        found: int = self._all(f"SELECT count(*) FROM {tables} WHERE {where}", values)[0][0]
        return found

    def _beyond(self, part: Part, place: tuple[Any, int], others: Sequence[Part], *, forward: bool) -> str | None:
        """Return the key after a place in a part, or before it; if it is at the end, that of the next part."""
        statement, arguments = part.beyond(*place, forward=forward)
        rows = self._all(statement, (*part.arguments, *arguments))
        for other in others:
            rows = rows or self._all(other.end(forward=forward), other.arguments)
        return rows[0][0] if rows else None

    def _counts(self, column: str) -> list[tuple[str, int]]:
        rows = self._all(
            "SELECT value, num FROM (SELECT value, num FROM counts WHERE name = ? AND num > 0 "
            "ORDER BY num DESC LIMIT ?) ORDER BY value",
            (column, _MAX_OPTIONS),
        )
        return [(str(value), num) for value, num in rows]

    def _all(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        with closing(self._database().execute(statement, values)) as cursor:
            return cursor.fetchall()

    def _database(self) -> sqlite3.Connection:
        """Return this thread's connection."""
        if not hasattr(self._own, "database"):
            self._own.database = connect(self.path)
        database: sqlite3.Connection = self._own.database
        return database


def _listed(row: Sequence[Any]) -> Listed:
    names = _LISTED.split(", ")
    values = dict(zip(names, row, strict=True))
    strategies = tuple(filter(None, str(values.pop("strategies")).split("\n")))
    return Listed(**values, strategies=strategies)
