"""`IndexWriter` brings an index up to date with its files.

Only new rows are read: unchanged files are known by their size and time, and files that grew continue where they ended.
Each batch is one transaction, so an index is usable at any time, and one that was interrupted continues.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson

from music.viewer.batches import read_batches
from music.viewer.database import COUNTED, connect, words_of
from music.viewer.records import Kind, Record, key_of, pack
from music.viewer.sources import DataFile, Position, can_continue, find_files
from music.viewer.turns import facts_of

__all__ = ["IndexWriter"]

POLL_SECONDS = 1.0
"""How often files are looked at for new rows."""


class IndexWriter:
    """Writes an index; one process at a time does.

    Args:
        path: The file of the index.
        sources: Files and folders, as the user named them.
    """

    def __init__(self, path: Path, sources: Sequence[str]) -> None:
        self._database = connect(path)
        self._sources = list(sources)

    def close(self) -> None:
        """Close the index."""
        self._database.close()

    def update(self, limit: int | None = None) -> int:
        """Read what is new in the files, and forget files that are gone.

        Args:
            limit: Stop after this many records, for a first look.

        Returns:
            The number of records read.
        """
        files, num = find_files(self._sources), 0
        self._forget({str(file.path) for file in files})
        for file in files:
            with suppress(FileNotFoundError):  # it vanished meanwhile; the next update forgets it
                for batch_size in self._read(file):
                    num += batch_size
                    if limit is not None and num >= limit:
                        return num
        self._set_state("is_whole", 1)
        return num

    def num_records(self) -> int:
        """Return the number of records so far."""
        num: int = self._database.execute("SELECT count(*) FROM records").fetchone()[0]
        return num

    def first_problem(self) -> str:
        """Return the first problem of a file, after a colon; empty for none."""
        found = self._database.execute("SELECT path, problem FROM files WHERE problem != ''").fetchone()
        return f" ({Path(found[0]).name}: {found[1].removeprefix(found[0] + ': ')})" if found else ""

    def keep_updating(self, stop: threading.Event) -> None:
        """Update whenever a file changed, until told to stop."""
        while not stop.is_set():
            self.update()
            stop.wait(POLL_SECONDS)

    def _read(self, file: DataFile) -> Iterator[int]:
        """Read the new rows of a file, yielding the number of records of each batch."""
        stat = file.path.stat()
        row = self._file_row(file)
        if row and (row["size"], row["mtime"], row["is_whole"]) == (stat.st_size, stat.st_mtime_ns, 1):
            return
        start = Position(row["offset"], row["line"], row["seen"]) if row else Position()
        is_replaced = row is not None and not can_continue(file.path, stat.st_size, start)
        if is_replaced:
            row, start = None, Position()
        counts = [row["num_records"], row["num_bad"]] if row else [0, 0]
        problem = row["problem"] if row else ""
        for batch in read_batches(file, start):
            is_other = (
                not counts[0] and not batch.records and batch.num_unknown > 0 and batch.num_unknown == batch.num_bad
            )
            counts = [counts[0] + len(batch.records), counts[1] + batch.num_bad]
            problem = problem or batch.fault
            with self._transaction():
                if is_replaced:
                    self._forget_file(str(file.path))
                    is_replaced = False
                self._add(file, batch.records)
                self._database.execute(
                    "INSERT OR REPLACE INTO files VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        *(str(file.path), file.data_set, stat.st_size, stat.st_mtime_ns),
                        *(batch.end.offset, batch.end.line, batch.end.seen, *counts, problem),
                        *(int(is_other and not file.is_named), int(batch.is_last or is_other)),
                    ),
                )
            yield len(batch.records)
            if is_other:
                return

    def _file_row(self, file: DataFile) -> sqlite3.Row | None:
        self._database.row_factory = sqlite3.Row
        found: sqlite3.Row | None = self._database.execute(
            "SELECT * FROM files WHERE path = ? AND data_set = ?", (str(file.path), file.data_set)
        ).fetchone()
        return found

    def _add(self, file: DataFile, records: Sequence[Record]) -> None:
        (last,) = self._database.execute("SELECT ifnull(max(number), 0) FROM records").fetchone()
        for record in self._without_settled(file, records):
            facts, key = facts_of(record), self._free_key(key_of(record))
            gap = None if facts.rejected_length is None else (facts.chosen_length or 0) - facts.rejected_length
            strategies = "\n".join(("", *facts.strategies, "")) if facts.strategies else ""
            number = self._database.execute(
                "INSERT INTO records VALUES(NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(key, record.id, record.kind, str(file.path), record.data_set, record.source, record.seed_id),
                    *(facts.title, facts.num_turns, facts.diverging_turn, facts.chosen_length, facts.rejected_length),
                    *(gap, strategies),
                ),
            ).lastrowid
            self._database.execute("INSERT INTO bodies VALUES(?, ?)", (number, pack(record)))
            self._database.execute("INSERT INTO texts(rowid, text) VALUES(?, ?)", (number, words_of(_text_of(record))))

        self._count("number > ?", last, 1)

    def _without_settled(self, file: DataFile, records: Sequence[Record]) -> list[Record]:
        """Return records without failures that a later one of the same pair replaces, or the pair itself.

        A run logs every failure of a pair, and may make the pair in the end. Failures of the index that the records
        replace are removed. Only files of one folder belong together.
        """
        ids = orjson.dumps([record.id for record in records if record.kind in (Kind.PAIR, Kind.FAILURE)]).decode()
        known = self._database.execute(
            "SELECT number, id, kind, file FROM records WHERE id IN (SELECT value FROM json_each(?))", (ids,)
        ).fetchall()
        near = [each for each in known if Path(each[3]).parent == file.path.parent]
        if failures := [number for number, _, kind, _ in near if kind == Kind.FAILURE]:
            self._forget_records("number IN (SELECT value FROM json_each(?))", orjson.dumps(failures).decode())
        made = {record.id for record in records if record.kind is Kind.PAIR}
        made |= {id for _, id, kind, _ in near if kind == Kind.PAIR}
        last = {record.id: record for record in records if record.kind is Kind.FAILURE and record.id not in made}
        return [record for record in records if record.kind is not Kind.FAILURE or last.get(record.id) is record]

    def _count(self, where: str, value: object, sign: int) -> None:
        """Add some records to the counts of all filters, or take them away."""
        for column in COUNTED:
            self._database.execute(
                f"INSERT INTO counts SELECT ?, {column}, ? * count(*) FROM records "
                f"WHERE {where} AND {column} NOT IN ('') GROUP BY {column} "
                "ON CONFLICT(name, value) DO UPDATE SET num = num + excluded.num",
                (column, sign, value),
            )

    def _free_key(self, key: str) -> str:
        """Return a key that no record has: the same record twice has the keys `key` and `key-2`."""
        free, num = key, 1
        while self._database.execute("SELECT 1 FROM records WHERE key = ?", (free,)).fetchone():
            num += 1
            free = f"{key}-{num}"
        return free

    def _forget(self, present: set[str]) -> None:
        for (path,) in self._database.execute("SELECT path FROM files").fetchall():
            if path not in present:
                with self._transaction():
                    self._forget_file(path)

    def _forget_file(self, path: str) -> None:
        """Remove a file's records; their words stay, and find nothing."""
        self._forget_records("file = ?", path)
        self._database.execute("DELETE FROM files WHERE path = ?", (path,))

    def _forget_records(self, where: str, value: object) -> None:
        self._count(where, value, -1)
        self._database.execute(
            f"DELETE FROM bodies WHERE number IN (SELECT number FROM records WHERE {where})", (value,)
        )
        self._database.execute(f"DELETE FROM records WHERE {where}", (value,))

    def _set_state(self, name: str, value: object) -> None:
        if self._database.execute("SELECT 1 FROM state WHERE name = ? AND value = ?", (name, value)).fetchone() is None:
            self._database.execute("INSERT OR REPLACE INTO state VALUES(?, ?)", (name, value))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")


def _text_of(record: Record) -> str:
    """Return all words of a record, each message once."""
    num = record.num_shared
    texts = [record.id, record.seed_id, record.source]
    texts += [message.content for message in record.sides[0].messages[:num]] if record.sides else []
    texts += [message.content + message.tool_calls for side in record.sides for message in side.messages[num:]]
    texts += [contrast.modified_instruction for contrast in record.contrasts]
    texts += [message.content for each in record.decisions for reply in each.candidates for message in reply]
    texts += [orjson.dumps(record.details, default=str, option=orjson.OPT_NON_STR_KEYS).decode()]
    return "\n".join(texts)
