"""`FailureLog`: the pairs that came to nothing, and how often each was tried anew.

`failures.jsonl` holds one line for each pair that stands as failed. `retry` forgets them all, so that they are
simulated again; `retries.json` keeps how often that happened to each index, and so which replies its pair is made of.
"""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import orjson
from pydantic import TypeAdapter, ValidationError

from music.errors import MusicError
from music_agents.failures import FailedPair
from music_agents.output.shards import drop_rows, replace_file

__all__ = ["FailureLog"]

_RETRIES = "retries.json"
_COUNTS = TypeAdapter(dict[int, int])


class FailureLog:
    """The failures of a run, those of earlier sessions included."""

    def __init__(self, path: Path) -> None:
        """Read what an earlier session left; a line that a crash tore is cut off.

        Args:
            path: `failures.jsonl` of the run's directory.

        Raises:
            MusicError: A whole line is not a failure's, or `retries.json` is not as `retry` leaves it.
        """
        self._path = path
        self._retries_path = path.with_name(_RETRIES)
        path.touch()
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            replace_file(path, whole)
        try:
            records = [orjson.loads(line) for line in whole.splitlines()]
            self._reasons = Counter[str](record["reason"] for record in records)
            self._indices = {int(record["index"]) for record in records}
            self._retries = Counter[str](reason for record in records for reason in record["retries"])
            self._judgements = Counter[str](record["judgement"] for record in records)
        except (ValueError, TypeError, KeyError) as error:
            raise MusicError(f"{path}: expected one JSON object of a failed pair a line, got: {error!r}") from error
        self._num_retries = self._read_retries()

    @property
    def indices(self) -> frozenset[int]:
        """Indices that came to no pair."""
        return frozenset(self._indices)

    @property
    def reasons(self) -> dict[str, int]:
        """Number of failures by reason."""
        return dict(self._reasons)

    @property
    def retries(self) -> Counter[str]:
        """Replies that were asked for again, by `role:reason`, in pairs that gates dropped."""
        return self._retries.copy()

    @property
    def judgements(self) -> Counter[str]:
        """How often the judge said what; the empty string stands for pairs that were not judged."""
        return self._judgements.copy()

    def num_retries(self, index: int) -> int:
        """Return how often the pair with this index was forgotten as failed, in all sessions."""
        return self._num_retries[index]

    def append(self, failures: Sequence[FailedPair]) -> None:
        """Write failures, on disk when this returns.

        Raises:
            MusicError: They could not be written; the file is as it was.
        """
        if not failures:
            return
        size = self._path.stat().st_size
        try:
            with self._path.open("ab") as file:
                file.writelines(orjson.dumps(failure, option=orjson.OPT_APPEND_NEWLINE) for failure in failures)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            os.truncate(self._path, size)
            raise MusicError(f"could not write to {self._path} ({error}): make room and run again") from error
        self._reasons.update(str(failure.reason) for failure in failures)
        self._indices.update(failure.index for failure in failures)
        self._retries.update(reason for failure in failures for reason in failure.retries)
        self._judgements.update(failure.judgement for failure in failures)

    def put_in_order(self) -> None:
        """Put the lines in the order of the indices, so that the file does not depend on timing.

        Raises:
            MusicError: The file could not be written; it is as it was.
        """
        lines = self._path.read_bytes().splitlines(keepends=True)
        in_order = sorted(lines, key=lambda line: int(orjson.loads(line)["index"]))
        if in_order != lines:
            replace_file(self._path, b"".join(in_order))

    def retry(self) -> None:
        """Forget all failures, and take back the rows that stand after the first of them.

        Call it before the run's `PairTable` is made. A process that dies on the way leaves a directory that goes on
        rightly: while a failure is still listed, its count of retries means nothing and the rows are made again from
        the journal; it is forgotten last, in one step with all others.

        Raises:
            MusicError: A file could not be read or written.
        """
        if not self._indices:
            return
        drop_rows(self._path.parent, min(self._indices))
        counts = self._num_retries + Counter(self._indices)
        replace_file(self._retries_path, orjson.dumps(counts, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS))
        replace_file(self._path, b"")
        self._num_retries = counts
        self._reasons.clear()
        self._indices.clear()
        self._retries.clear()
        self._judgements.clear()

    def _read_retries(self) -> Counter[int]:
        """Read how often each index was retried."""
        if not self._retries_path.exists():
            return Counter()
        try:
            return Counter(_COUNTS.validate_json(self._retries_path.read_bytes()))
        except ValidationError as error:
            path = self._retries_path
            raise MusicError(f"{path}: expected a JSON object of counts by index ({error}): put it back") from error
