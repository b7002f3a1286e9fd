"""`failures.jsonl`: one line for each pair that came to nothing."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import orjson

from music.errors import MusicError
from music_agents.failures import FailedPair
from music_agents.shards import replace_file

__all__ = ["FailureLog"]


class FailureLog:
    """The failures of a run, those of earlier sessions included."""

    def __init__(self, path: Path) -> None:
        """Read what an earlier session left; a line that a crash tore is cut off.

        Raises:
            MusicError: A whole line is not a failure's.
        """
        self._path = path
        path.touch()
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            replace_file(path, whole)
        try:
            records = [orjson.loads(line) for line in whole.splitlines()]
            self._reasons = Counter[str](record["reason"] for record in records)
            self._indices = {int(record["index"]) for record in records}
        except (ValueError, TypeError, KeyError) as error:
            raise MusicError(f"{path}: expected one JSON object of a failed pair a line, got: {error!r}") from error

    @property
    def indices(self) -> frozenset[int]:
        """Indices that came to no pair."""
        return frozenset(self._indices)

    @property
    def reasons(self) -> dict[str, int]:
        """Number of failures by reason."""
        return dict(self._reasons)

    def append(self, failures: Sequence[FailedPair]) -> None:
        """Write failures, on disk when this returns."""
        if not failures:
            return
        with self._path.open("ab") as file:
            file.writelines(orjson.dumps(failure, option=orjson.OPT_APPEND_NEWLINE) for failure in failures)
            file.flush()
            os.fsync(file.fileno())
        self._reasons.update(str(failure.reason) for failure in failures)
        self._indices.update(failure.index for failure in failures)
