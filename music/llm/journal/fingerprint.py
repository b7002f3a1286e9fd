"""The fingerprint of a run: the settings that all its sessions share, and what changed in them."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from music.llm.journal.errors import ChangedSettingsError

__all__ = ["check_fingerprint"]

_MAX_CHARS = 100
"""Of a value in a message."""
_NUM_BEFORE_CHANGE = 30
"""Characters shown before the first difference of two long values."""


def check_fingerprint(path: Path, connection: sqlite3.Connection, fingerprint: Mapping[str, Any]) -> None:
    """Store the fingerprint of a journal without replies; compare that of one with replies.

    Raises:
        ChangedSettingsError: The journal holds replies that came under another fingerprint.
    """
    new = {setting: json.dumps(value, sort_keys=True) for setting, value in fingerprint.items()}
    if connection.execute("SELECT 1 FROM replies LIMIT 1").fetchone() is None:
        with connection:
            connection.execute("DELETE FROM meta")
            connection.executemany("INSERT INTO meta VALUES (?, ?)", new.items())
        return
    old = dict(connection.execute("SELECT setting, value FROM meta"))
    if old != new:
        raise ChangedSettingsError(
            f"{path.parent} holds a run with other settings:{''.join(_differences(old, new))}\n"
            "Run with the old settings to go on with it, or give another output directory."
        )


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
