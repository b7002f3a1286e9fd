"""The file of the index: its tables, its place in the user's cache, and connections to it.

`records` holds what lists filter and sort by; `bodies` the whole records, so that a list never reads them; `texts` the
words for the full-text search; `counts` the number of records by value of each filter; `rewards` what models gave, by
their fingerprint; `extras` values that lists are sorted and filtered by, such as margins. All of it can be built again
from the files, and by the models, at any time.
"""

import hashlib
import json
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

__all__ = ["COUNTED", "connect", "index_path", "words_of", "writing"]

_VERSION = 5
_KEPT_SECONDS = 30 * 86_400
"""Indexes that were not opened for this long are removed."""
_TABLES = """
CREATE TABLE files(
    path TEXT PRIMARY KEY, data_set TEXT, size INTEGER, mtime INTEGER, offset INTEGER, line INTEGER, seen TEXT,
    num_records INTEGER, num_bad INTEGER, problem TEXT, is_other INTEGER, is_whole INTEGER
) WITHOUT ROWID;
CREATE TABLE records(
    number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT UNIQUE, id TEXT, kind TEXT, file TEXT, data_set TEXT,
    source TEXT, seed_id TEXT, title TEXT, turns INTEGER, diverging INTEGER, chosen INTEGER, rejected INTEGER,
    gap INTEGER, strategies TEXT
);
CREATE INDEX records_file ON records(file);
CREATE INDEX records_id ON records(id);
CREATE INDEX records_gap ON records(abs(ifnull(gap, 0)));
CREATE INDEX records_early ON records(ifnull(diverging, 1000000));
CREATE INDEX records_late ON records(ifnull(diverging, -1));
CREATE TABLE bodies(number INTEGER PRIMARY KEY, body BLOB);
CREATE TABLE counts(name TEXT, value, num INTEGER, PRIMARY KEY(name, value)) WITHOUT ROWID;
CREATE TABLE extras(name TEXT, key TEXT, value, PRIMARY KEY(name, key)) WITHOUT ROWID;
CREATE INDEX extras_value ON extras(name, value);
CREATE TABLE rewards(model TEXT, key TEXT, body BLOB, PRIMARY KEY(model, key)) WITHOUT ROWID;
CREATE TABLE state(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE VIRTUAL TABLE texts USING fts5(
    text, content='', tokenize="unicode61 remove_diacritics 2 categories 'L* N* Co So Mn Mc'"
);
"""
COUNTED = ("kind", "data_set", "source", "strategies", "turns", "diverging")
"""The columns whose values are counted."""
_UNSPACED = re.compile("([\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\u2600-\u27bf\U0001f000-\U0001faff])")
"""Characters that are words of their own: scripts without spaces, and emoji."""


def index_path(sources: Sequence[str]) -> Path:
    """Return the path of the index of sources, in the user's cache; old indexes are removed."""
    cache = platformdirs.user_cache_path("music-rm", appauthor=False) / "viewer"
    named = [[source, str(Path(source).expanduser().absolute())] for source in sources]
    folder = cache / hashlib.sha256(json.dumps(named).encode()).hexdigest()[:24]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "index.sqlite"
    for other in cache.iterdir():
        with suppress(OSError):
            if other != folder and time.time() - (other / path.name).stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(other)
    return path


def connect(path: Path) -> sqlite3.Connection:
    """Open an index; a missing one is created, and one that is damaged or of another version is built anew."""
    try:
        return _opened(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            raise
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return _opened(path)


@contextmanager
def writing(path: Path, *, wait: bool) -> Iterator[bool]:
    """Be the only writer of an index during the block.

    Args:
        path: The index.
        wait: Whether to wait until another process stops writing.

    Yields:
        Whether this process may write.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield True
        return
    with path.with_name("lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def words_of(text: str) -> str:
    """Return a text in which the search finds every word; scripts without spaces get some."""
    return _UNSPACED.sub(r" \1 ", text)


def _opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA cache_size = -65536")  # 64 MB
        if database.execute("PRAGMA user_version").fetchone()[0] == _VERSION:
            return database
        database.execute("BEGIN IMMEDIATE")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            for statement in _TABLES.split(";\n"):
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {_VERSION}")
        elif version != _VERSION:
            raise sqlite3.DatabaseError(f"version {version}")
        database.execute("COMMIT")
    except BaseException:
        database.close()
        raise
    return database
