"""The SQLite file of a journal: opens, checks and locks it for this process, or refuses it.

A file is refused if using it would lose replies silently: it is not a journal, was written by another version, or is
damaged; or its write-ahead log (`...-wal`, which holds replies until SQLite moves them) is missing, damaged or cut
short. A journal of a run with other settings is refused too; the error names the changed settings.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from music.llm.journal.errors import ChangedSettingsError, JournalError, JournalLockedError
from music.llm.journal.log import check_log, check_row_count, make_row_count
from music.llm.journal.tables import CREATE_REPLIES, CREATE_TRIES

__all__ = ["NONE_FREE", "check_fingerprint", "close_database", "open_database"]

_APPLICATION_ID = 0x4D555304
"""`MUS` and the version of the schema, in the file's header."""
_IN_USE = 1
"""`user_version` in the file's header from opening to closing. While it is set, there must be a log."""
_SCHEMA = f"""
BEGIN;
CREATE TABLE IF NOT EXISTS meta (setting TEXT PRIMARY KEY, value TEXT NOT NULL);
{CREATE_REPLIES}
{CREATE_TRIES}
PRAGMA application_id={_APPLICATION_ID};
PRAGMA user_version={_IN_USE};
COMMIT;
"""
_NO_ACCESS = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
_MAX_CHARS = 100
"""Most characters of a value in a message."""
_NUM_BEFORE_CHANGE = 30
"""Characters shown before the first difference of two long values."""
NONE_FREE: Mapping[str, str] = {}
"""No setting may change."""
_SET_ASIDE = "UPDATE replies SET key = 'aside/' || rowid || '/' || key WHERE key NOT LIKE 'aside/%' AND key NOT LIKE ?"


def open_database(path: Path) -> sqlite3.Connection:
    """Open or create the file, and lock it until the connection is closed.

    Raises:
        JournalLockedError: Another process has it open.
        JournalError: It cannot be opened and written, is not a journal, or is damaged.
    """
    log = path.with_name(path.name + "-wal")
    had_log = log.exists()
    if had_log and log.stat().st_size and not (path.exists() and path.stat().st_size):
        raise JournalError(f"{path} is missing or empty, while {log} holds replies: put an undamaged copy in its place")
    try:
        connection = sqlite3.connect(path, timeout=0, check_same_thread=False)
        try:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            if connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is not None:  # takes the lock
                _check(path, connection, log, had_log)
            make_row_count(path)
        except OSError as error:
            _close_refused(connection, log, is_ours=had_log)
            raise JournalError(f"cannot write beside {path} ({error}): make room on the disk and run again") from error
        except (JournalError, sqlite3.Error) as error:
            _close_refused(connection, log, is_ours=had_log and _kind(error) != sqlite3.SQLITE_BUSY)
            raise
        _begin(connection)
    except sqlite3.Error as error:
        raise _open_error(path, error) from error
    return connection


def close_database(connection: sqlite3.Connection) -> None:
    """Move the content of the log to the file, and close it."""
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # frees the log's space on a full disk for the mark
        connection.execute("PRAGMA user_version=0")
    except sqlite3.OperationalError:
        pass  # the disk is full: the log stays, and the next session resumes from it as after a crash
    finally:
        connection.close()


def check_fingerprint(
    path: Path, connection: sqlite3.Connection, fingerprint: Mapping[str, Any], free: Mapping[str, str] = NONE_FREE
) -> None:
    """Store the fingerprint in a journal without replies; compare it in one with replies.

    Args:
        path: The journal, for messages.
        connection: The open file.
        fingerprint: The run's settings, as JSON values.
        free: Settings that may change. Each has an SQL pattern for the keys of the replies that stay valid. The other
            replies are set aside: they count as paid, but no key finds them.

    Raises:
        ChangedSettingsError: The journal holds replies of another fingerprint.
    """
    new = {setting: json.dumps(value, sort_keys=True) for setting, value in fingerprint.items()}
    if connection.execute("SELECT 1 FROM replies LIMIT 1").fetchone() is None:
        with connection:
            _store(connection, new)
        return
    old = dict(connection.execute("SELECT setting, value FROM meta"))
    changed = {setting for setting in old.keys() | new.keys() if old.get(setting) != new.get(setting)}
    if not changed <= free.keys():
        raise ChangedSettingsError(
            f"{path.parent} holds a run with other settings:{''.join(_differences(old, new))}\n"
            "Run with the old settings to resume it, or give another output directory."
        )
    if changed:
        with connection:  # both or neither
            connection.executemany(_SET_ASIDE, ((free[setting],) for setting in changed))
            _store(connection, new)


def _begin(connection: sqlite3.Connection) -> None:
    """Create the tables, and mark the file itself, not only its log, as in use."""
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(_SCHEMA)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error:
        connection.rollback()
        close_database(connection)
        raise


def _check(path: Path, connection: sqlite3.Connection, log: Path, had_log: bool) -> None:
    """Refuse a file with tables that is not a whole journal."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    if application_id != _APPLICATION_ID:
        raise JournalError(
            f"{path} is not a journal of this version: end that run with the version that began it, "
            "or give another output directory"
        )
    (mark,) = connection.execute("PRAGMA user_version").fetchone()
    if mark == _IN_USE and not had_log:
        raise JournalError(
            f"{log} is missing, which holds the latest replies of a run that was cut short: put it back; "
            f"or create an empty file of that name and delete {path}-rows, to resume without them"
        )
    if had_log:
        check_log(log)
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)
    check_row_count(path, connection)


def _close_refused(connection: sqlite3.Connection, log: Path, is_ours: bool) -> None:
    """Close a file that was refused; keep its log, unless another process may be using it."""
    aside = log.rename(log.with_name(log.name + ".aside")) if is_ours else None  # closing would delete it
    connection.close()
    if aside is not None:
        aside.rename(log)


def _kind(error: Exception) -> int:
    """Return the primary SQLite code of an error."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return code & 0xFF


def _open_error(path: Path, error: sqlite3.Error) -> JournalError:
    """Return the error for a file that cannot be opened."""
    code = _kind(error)
    if code == sqlite3.SQLITE_BUSY:
        return JournalLockedError(f"{path} is in use by another process: wait for that run to end, or stop it")
    # A read-only file cannot be locked for writing.
    if code in _NO_ACCESS or getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_IOERR_LOCK:
        return JournalError(
            f"cannot open {path} for writing ({error}): make it and its directory writable, "
            "or give another output directory"
        )
    if code == sqlite3.SQLITE_FULL:
        return JournalError(f"cannot open {path} ({error}): make room on the disk and run again")
    if code == sqlite3.SQLITE_NOTADB:
        return JournalError(f"{path} is not a journal ({error}): give another output directory")
    if code == sqlite3.SQLITE_CORRUPT:
        return JournalError(
            f"{path} is damaged ({error}): put an undamaged copy in its place, or give another output directory"
        )
    return JournalError(f"cannot open the journal {path}: {error}")


def _store(connection: sqlite3.Connection, values: Mapping[str, str]) -> None:
    connection.execute("DELETE FROM meta")
    connection.executemany("INSERT INTO meta VALUES (?, ?)", values.items())


def _differences(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each value that differs, by its path of keys."""
    before, after = (dict(_leaves("", {name: json.loads(text) for name, text in run.items()})) for run in (old, new))
    for name in {**before, **after}:
        values = before.get(name, "unset"), after.get(name, "unset")
        if values[0] != values[1]:
            yield "\n  {}: {} -> {}".format(name, *_shorten(*values))


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the values of nested objects, as JSON, by path of keys."""
    if not isinstance(value, dict) or (path and not value):
        yield path, json.dumps(value, sort_keys=True, ensure_ascii=False)
        return
    for name, inner in value.items():
        yield from _leaves(f"{path}.{name}" if path else name, inner)


def _shorten(old: str, new: str) -> tuple[str, str]:
    """Shorten two values to the text around their first difference."""
    num_shared = next((place for place, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), 0)
    start = max(0, num_shared - _NUM_BEFORE_CHANGE) if max(len(old), len(new)) > _MAX_CHARS else 0
    cut_old, cut_new = (
        ("…" if start else "") + text[start : start + _MAX_CHARS] + ("…" if len(text) > start + _MAX_CHARS else "")
        for text in (old, new)
    )
    return cut_old, cut_new
