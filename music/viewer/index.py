"""`Index`: lists, searches and opens records, without their files.

Any number of threads may read it while another process writes. Scores and labels are added as extra values by name, and
lists can be filtered and sorted by them.
"""

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from music.viewer.database import connect
from music.viewer.labels import LabelStore
from music.viewer.query import FILTERS, PAGE_SIZE, Query
from music.viewer.query_sql import COLUMNS, TEXT_KEY, condition_of, order_of
from music.viewer.records import Record, text_key, unpack
from music.viewer.rewards import PairRewards

__all__ = ["FileState", "Index", "Listed", "Listing", "Neighbours"]

_MAX_OPTIONS = 200
"""The most frequent values of a filter that are offered."""
_LISTED = "number, key, id, kind, data_set, source, title, turns, diverging, chosen, rejected, gap, strategies"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A record in a list.

    Attributes:
        key: Its key in links; see `key_of`.
        id: Its id.
        kind: What it is.
        data_set: The data set that it belongs to.
        source: Where its seed comes from.
        title: The beginning of the first user message.
        turns: The number of turns.
        diverging: The first turn in which the sides differ; None without two sides.
        chosen: Characters of the chosen replies.
        rejected: Characters of the rejected replies.
        gap: Their difference.
        strategies: Its contrasts.
    """

    number: int
    key: str
    id: str
    kind: str
    data_set: str
    source: str
    title: str
    turns: int
    diverging: int | None
    chosen: int | None
    rejected: int | None
    gap: int | None
    strategies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a list.

    Attributes:
        records: The records on it.
        num_matches: The number of records on all pages.
    """

    records: tuple[Listed, ...]
    num_matches: int

    @property
    def num_pages(self) -> int:
        """The number of pages, at least 1."""
        return max(1, -(-self.num_matches // PAGE_SIZE))


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Where a record stands in a list.

    Attributes:
        previous: The key of the record before it; None for the first.
        next: The key of the record after it; None for the last.
    """

    previous: str | None
    next: str | None


@dataclass(frozen=True, slots=True)
class FileState:
    """A file of the index.

    Attributes:
        path: Its path.
        num_records: The number of its records so far.
        num_bad: The number of its rows that cannot be used.
        problem: The first problem; empty for none.
        is_other: Whether it holds nothing that can be shown, and was found in a folder.
        is_whole: Whether all of it has been read.
    """

    path: str
    num_records: int
    num_bad: int
    problem: str
    is_other: bool
    is_whole: bool


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
        found, order = condition_of(query, self._labels), order_of(query)
        num = self.num_records()
        if query.is_filtered:
            num = self._all(f"SELECT count(*) FROM {found.tables} WHERE {found.where}", found.values)[0][0]
        numbers = self._all(
            f"SELECT {order.number} FROM {found.tables} WHERE {found.where} ORDER BY {order.terms()} LIMIT ? OFFSET ?",
            (*found.values, *order.values, PAGE_SIZE, (query.page - 1) * PAGE_SIZE),
        )
        marks = ", ".join("?" * len(numbers))
        rows = self._all(f"SELECT {_LISTED} FROM records WHERE number IN ({marks})", tuple(each for (each,) in numbers))
        listed = {each.number: each for each in map(_listed, rows)}
        return Listing(tuple(listed[each] for (each,) in numbers if each in listed), num)

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
        among, order = condition_of(query, self._labels), order_of(query)
        expression = f"{order.expression}, " if order.expression else ""
        at = self._all(f"SELECT {expression}number FROM records WHERE key = ?", (*order.values, key))
        if not at:
            return Neighbours(None, None)
        found: list[str | None] = []
        for forward in (False, True):
            where = f"{among.where} AND {order.beyond(forward=forward)}"
            rows = self._all(
                f"SELECT records.key FROM {among.tables} WHERE {where} ORDER BY {order.terms(forward=forward)} LIMIT 1",
                (*among.values, *order.values, *at[0], *order.values),
            )
            found.append(rows[0][0] if rows else None)
        return Neighbours(*found)

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
        options = {name: self._counts(column) for name, column in COLUMNS.items()}
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

    def set_extras(self, name: str, values: Mapping[str, float | str]) -> None:
        """Replace the extra values of a name, such as margins, by text key."""
        database = self._database()
        database.execute("BEGIN IMMEDIATE")
        database.execute("DELETE FROM extras WHERE name = ?", (name,))
        database.executemany("INSERT INTO extras VALUES(?, ?, ?)", ((name, *item) for item in values.items()))
        database.execute("COMMIT")

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

    def num_scored(self, fingerprint: str) -> int:
        """Return the number of pairs that a model has scored."""
        num: int = self._all("SELECT count(*) FROM rewards WHERE model = ?", (fingerprint,))[0][0]
        return num

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
