"""`LabelStore`: what people think of pairs, saved for good in a file of its own.

A label belongs to the texts of a pair (`music.viewer.records.text_key`), not to its row or file, so it survives when
pairs are reordered, moved or copied. One file may hold labels of any number of sets. The last label of a pair wins, and
all earlier ones stay in the history. A label that `save` has returned from is on disk.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import platformdirs

from music.errors import InvalidInputError

__all__ = ["LABELLED", "MAX_NOTE", "PAIR_TURN", "UNLABELLED", "Label", "LabelStore", "Verdict", "default_label_path"]

PAIR_TURN = 0
"""The turn of a label of the whole pair."""
MAX_NOTE = 10_000
LABELLED, UNLABELLED = "labelled", "unlabelled"
_APPLICATION = 0x6D727662
"""Marks a SQLite file as one of labels."""
_COLUMNS = "key, turn, verdict, note, labeller, time"
_TABLES = """
CREATE TABLE history(
    number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT, turn INTEGER, verdict TEXT, note TEXT, labeller TEXT, time TEXT
);
CREATE TABLE labels(
    key TEXT, turn INTEGER, verdict TEXT, note TEXT, labeller TEXT, time TEXT, PRIMARY KEY(key, turn)
) WITHOUT ROWID;
"""


class Verdict(StrEnum):
    """Which side is better, compared with the data's label."""

    AGREE = "agree"
    """The chosen side is better."""
    DISAGREE = "disagree"
    """The rejected side is better."""
    TIE = "tie"
    """Neither is better."""
    NONE = ""
    """Not decided; there may be a note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A label of a pair or of one of its turns.

    Attributes:
        key: The pair; see `text_key`.
        turn: The number of the turn; 0 for the whole pair.
        verdict: Which side is better.
        note: A remark.
        labeller: Who labelled; empty if not given.
        time: When, in UTC.
    """

    key: str
    turn: int = PAIR_TURN
    verdict: Verdict = Verdict.NONE
    note: str = ""
    labeller: str = ""
    time: str = ""


def default_label_path() -> Path:
    """Return the path of the label file that is used if none is named: in the user's data folder, not in the cache."""
    return platformdirs.user_data_path("music-rm", appauthor=False) / "labels.sqlite"


class LabelStore:
    """Labels in a SQLite file, which is created with the first label.

    Any number of threads and processes may use one file.

    Args:
        path: The file.

    Raises:
        InvalidInputError: There is another file at the path.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._own = threading.local()
        if path.exists():
            self._database()

    def save(self, label: Label) -> Label:
        """Save a label in place of the earlier one, and return it with its time, once it is on disk.

        A label without a verdict and a note removes the earlier one; the history has both.

        Raises:
            sqlite3.Error: It cannot be written, for example because the disk is full.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        values = (label.key, label.turn, label.verdict, label.note, label.labeller, now)
        with self._transaction() as database:
            database.execute(f"INSERT INTO history({_COLUMNS}) VALUES(?, ?, ?, ?, ?, ?)", values)
            if label.verdict or label.note:
                database.execute("INSERT OR REPLACE INTO labels VALUES(?, ?, ?, ?, ?, ?)", values)
            else:
                database.execute("DELETE FROM labels WHERE key = ? AND turn = ?", (label.key, label.turn))
        return _label(values)

    def of(self, key: str) -> dict[int, Label]:
        """Return the labels of a pair by turn."""
        rows = self._all(f"SELECT {_COLUMNS} FROM labels WHERE key = ? ORDER BY turn", (key,))
        return {label.turn: label for label in map(_label, rows)}

    def all(self) -> list[Label]:
        """Return all labels, of pairs and of turns."""
        return list(map(_label, self._all(f"SELECT {_COLUMNS} FROM labels ORDER BY key, turn")))

    def history(self, key: str) -> list[Label]:
        """Return all labels that a pair ever had, the first one first."""
        return list(map(_label, self._all(f"SELECT {_COLUMNS} FROM history WHERE key = ? ORDER BY number", (key,))))

    def keys(self, choice: str) -> list[str]:
        """Return the pairs that a choice of the filter names: a verdict, `labelled`, `unlabelled` or `note`.

        For `unlabelled` these are the pairs that it leaves out.
        """
        conditions = {LABELLED: "verdict != ''", UNLABELLED: "verdict != ''", "note": "note != ''"}
        where = conditions.get(choice, "verdict != '' AND verdict = ?")
        values = () if choice in conditions else (choice,)
        return [key for (key,) in self._all(f"SELECT key FROM labels WHERE turn = 0 AND {where}", values)]

    def _all(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        if not self.path.exists():
            return []
        with closing(self._database().execute(statement, values)) as cursor:
            return cursor.fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        database = self._database()
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise

    def _database(self) -> sqlite3.Connection:
        """Return this thread's connection."""
        if not hasattr(self._own, "database"):
            self._own.database = _opened(self.path)
        database: sqlite3.Connection = self._own.database
        return database


def _opened(path: Path) -> sqlite3.Connection:
    """Open a label file, or create it.

    Raises:
        InvalidInputError: It is a file of another kind.
    """
    database = sqlite3.connect(path, timeout=30, isolation_level=None)
    try:
        (found,) = database.execute("PRAGMA application_id").fetchone()
        if found != _APPLICATION:
            _create(database, path)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
    except BaseException as error:
        database.close()
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            raise _other_file(path) from error
        raise
    return database


def _create(database: sqlite3.Connection, path: Path) -> None:
    database.execute("BEGIN IMMEDIATE")
    (num_tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (found,) = database.execute("PRAGMA application_id").fetchone()
    if found == 0 and not num_tables:
        for statement in _TABLES.split(";\n"):
            database.execute(statement)
        database.execute(f"PRAGMA application_id = {_APPLICATION}")
        path.chmod(0o600)
    elif found != _APPLICATION:
        raise _other_file(path)
    database.execute("COMMIT")


def _other_file(path: Path) -> InvalidInputError:
    return InvalidInputError(
        f"--labels {path}: expected a file of labels, or a name for a new one; it is something else and was not changed"
    )


def _label(row: tuple[Any, ...]) -> Label:
    key, turn, verdict, note, labeller, time = row
    return Label(key=key, turn=turn, verdict=Verdict(verdict), note=note, labeller=labeller, time=time)
