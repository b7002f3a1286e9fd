"""`ScoreStore`: the rewards of models in an index, from which lists get margins, preferences and disagreement.

Rewards belong to a model's fingerprint, so that those of an earlier start are used again, and never those of a model
that has changed.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from statistics import fmean
from typing import Any

from music.viewer.database import connect
from music.viewer.records import KEY_LENGTH, Record, text_key, unpack
from music.viewer.rewards import PairRewards

__all__ = ["DISAGREEMENT", "ScoreStore", "margin_name", "preference_name"]

DISAGREEMENT = "disagreement"
"""The name of the extra values that are the largest difference between two models' margins, each in units of the
model's own root mean square margin."""


def margin_name(model: str) -> str:
    """Return the name of the extra values that are a model's margins."""
    return f"margin {model}"


def preference_name(model: str) -> str:
    """Return the name of the extra values that say which side a model prefers: `chosen`, `rejected` or `tie`."""
    return f"preference {model}"


class ScoreStore:
    """Writes and reads rewards; each thread that scores has its own.

    Args:
        path: The file of the index.
    """

    def __init__(self, path: Path) -> None:
        self._database = connect(path)

    def close(self) -> None:
        """Close the index."""
        self._database.close()

    def publish(self, model: str, fingerprint: str) -> int:
        """Let lists show the margins of a fingerprint for a name; return the number of pairs that it has rewards of."""
        shown = (f"margins of {model}", fingerprint)
        if not self._all("SELECT 1 FROM state WHERE name = ? AND value = ?", shown):
            rows = self._all("SELECT key, body FROM rewards WHERE model = ?", (fingerprint,))
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                names = (margin_name(model), preference_name(model))
                self._database.execute("DELETE FROM extras WHERE name IN (?, ?)", names)
                self._add_extras(model, {key: PairRewards.unpack(body) for key, body in rows})
                self._database.execute("INSERT OR REPLACE INTO state VALUES(?, ?)", shown)
        num: int = self._all("SELECT count(*) FROM rewards WHERE model = ?", (fingerprint,))[0][0]
        return num

    def add(self, model: str, fingerprint: str, rewards: Mapping[str, PairRewards]) -> None:
        """Add the rewards of pairs by text key."""
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(
                "INSERT OR REPLACE INTO rewards VALUES(?, ?, ?)",
                ((fingerprint, key, each.pack()) for key, each in rewards.items()),
            )
            self._add_extras(model, rewards)

    def compare(self, models: Sequence[str]) -> None:
        """Set anew how much models disagree about the pairs that all of them have margins of."""
        margins = [dict(self._all("SELECT key, value FROM extras WHERE name = ?", (margin_name(m),))) for m in models]
        scales = [math.sqrt(fmean(value**2 for value in each.values())) if each else 0.0 for each in margins]
        if len(models) < 2 or not all(scales):
            return
        shared = set.intersection(*map(set, margins))
        values = [[each[key] / scale for each, scale in zip(margins, scales, strict=True)] for key in shared]
        rows = [(DISAGREEMENT, key, max(each) - min(each)) for key, each in zip(shared, values, strict=True)]
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute("DELETE FROM extras WHERE name = ?", (DISAGREEMENT,))
            self._database.executemany("INSERT INTO extras VALUES(?, ?, ?)", rows)

    def unscored(self, fingerprint: str, after: int, limit: int) -> list[tuple[int, str, Record]]:
        """Return the next pairs without rewards after a number, each with its number and text key."""
        rows = self._all(
            "SELECT number, key, body FROM records JOIN bodies USING (number) WHERE kind = 'pair' AND number > ? "
            "AND NOT EXISTS (SELECT 1 FROM rewards "
            f"WHERE model = ? AND rewards.key = substr(records.key, 1, {KEY_LENGTH})) ORDER BY number LIMIT ?",
            (after, fingerprint, limit),
        )
        return [(number, text_key(key), unpack(body)) for number, key, body in rows]

    def pairs(self, keys: Sequence[str], fingerprint: str) -> list[tuple[str, Record]]:
        """Return those pairs of record keys that have no rewards yet, each with its text key, in the order of keys."""
        found = []
        for key in keys:
            found += self._all(
                "SELECT key, body FROM records JOIN bodies USING (number) WHERE key = ? AND kind = 'pair' AND "
                "NOT EXISTS (SELECT 1 FROM rewards WHERE model = ? AND rewards.key = ?)",
                (key, fingerprint, text_key(key)),
            )
        return [(text_key(key), unpack(body)) for key, body in found]

    def _add_extras(self, model: str, rewards: Mapping[str, PairRewards]) -> None:
        margins = {key: each.margin for key, each in rewards.items() if each.margin is not None}
        rows: list[tuple[str, str, float | str]] = [(margin_name(model), key, value) for key, value in margins.items()]
        for key, value in margins.items():
            rows.append((preference_name(model), key, "chosen" if value > 0 else "rejected" if value < 0 else "tie"))
        self._database.executemany("INSERT OR REPLACE INTO extras VALUES(?, ?, ?)", rows)

    def _all(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        with closing(self._database.execute(statement, values)) as cursor:
            return cursor.fetchall()
