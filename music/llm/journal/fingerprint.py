"""The fingerprint of a run: the settings that all its sessions share, and what changed in them."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from music.llm.journal.errors import ChangedSettingsError

__all__ = ["NONE_FREE", "check_fingerprint"]

_MAX_CHARS = 100
"""Of a value in a message."""
_NUM_BEFORE_CHANGE = 30
"""Characters shown before the first difference of two long values."""
NONE_FREE: Mapping[str, str] = {}
"""No setting may change."""


_SET_ASIDE = "UPDATE replies SET key = 'aside/' || rowid || '/' || key WHERE key NOT LIKE 'aside/%' AND key NOT LIKE ?"


def check_fingerprint(
    path: Path, connection: sqlite3.Connection, fingerprint: Mapping[str, Any], free: Mapping[str, str] = NONE_FREE
) -> None:
    """Store the fingerprint of a journal without replies; compare that of one with replies.

    Args:
        path: The journal, for messages.
        connection: The open file.
        fingerprint: The run's settings, as JSON values.
        free: Settings that may change, each with the keys, as a pattern of SQL, of the replies that hold all the same.
            The other replies are set aside: they are paid for, and no key finds them.

    Raises:
        ChangedSettingsError: The journal holds replies that came under another fingerprint.
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
    """Yield what nested objects hold, as JSON, by path of keys."""
    if not isinstance(value, dict) or (path and not value):
        yield path, json.dumps(value, sort_keys=True, ensure_ascii=False)
        return
    for name, inner in value.items():
        yield from _leaves(f"{path}.{name}" if path else name, inner)


def _shorten(old: str, new: str) -> tuple[str, str]:
    """Cut two values down to what surrounds their first difference."""
    num_shared = next((place for place, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), 0)
    start = max(0, num_shared - _NUM_BEFORE_CHANGE) if max(len(old), len(new)) > _MAX_CHARS else 0
    cut_old, cut_new = (
        ("…" if start else "") + text[start : start + _MAX_CHARS] + ("…" if len(text) > start + _MAX_CHARS else "")
        for text in (old, new)
    )
    return cut_old, cut_new
