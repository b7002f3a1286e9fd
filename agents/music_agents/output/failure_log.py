"""`FailureLog`: the failed pairs, written as they fail, and how often each was tried again.

`failures.jsonl` gets a line each time that a pair fails. The last line of an index is valid. If it is `dropped`, the
next index replaces the pair; if not, the pair is simulated again when the run resumes. A complete run has one line for
each dropped pair, in the order of the indices. `retries.json` counts how often the replies of an index were discarded
and requested again, which determines the replies that its pair is made of.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import orjson
from pydantic import TypeAdapter, ValidationError

from music.errors import MusicError
from music.files import append_to_file, replace_file
from music_agents.failures import FailedPair
from music_agents.output.shard_folder import drop_rows

__all__ = ["MAX_REOPENED", "FailureLog", "read_failures"]

MAX_REOPENED = 3
"""How often a pair with unusable replies is tried again automatically."""

_RETRIES = "retries.json"
_COUNTS = TypeAdapter(dict[int, int])
_FAILED_PAIR = TypeAdapter(FailedPair)


class FailureLog:
    """The failures of a run, those of earlier sessions included; a line that a crash left incomplete is removed.

    Args:
        path: `failures.jsonl` of the run's directory.

    Attributes:
        indices: Indices whose pairs were dropped.
        reasons: Number of dropped pairs by reason.
        retries: Replies that were requested again, by `role:reason`, in pairs that gates dropped.
        judgements: Number of judgements by kind; the empty string counts pairs that were not judged.

    Raises:
        MusicError: A complete line is not a failure, or `retries.json` is not a JSON object of counts.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._retries_path = path.with_name(_RETRIES)
        path.touch()
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            replace_file(path, whole)
        self._load(whole)
        self._num_retries = self._read_retries()

    def num_retries(self, index: int) -> int:
        """Return how often the replies of an index were discarded and requested again, in all sessions."""
        return self._num_retries[index]

    def append(self, failures: Sequence[FailedPair], *, durable: bool = True) -> None:
        """Write failures.

        Args:
            failures: Each with whether its pair is dropped.
            durable: Whether to sync them to disk; failures that the journal can reproduce need no sync.

        Raises:
            MusicError: They could not be written; the file is unchanged.
        """
        if not failures:
            return
        lines = (orjson.dumps(failure, option=orjson.OPT_APPEND_NEWLINE) for failure in failures)
        append_to_file(self._path, b"".join(lines), is_durable=durable)
        for failure in failures:
            if failure.dropped:
                self._count(failure.index, str(failure.reason), failure.retries, failure.judgement)

    def put_in_order(self) -> None:
        """Keep one line for each dropped pair, in the order of the indices, so that the file does not depend on timing.

        Raises:
            MusicError: The file could not be written; it is unchanged.
        """
        content = self._path.read_bytes()
        last = {int(orjson.loads(line)["index"]): line for line in content.splitlines(keepends=True)}
        in_order = b"".join(last[index] for index in sorted(self.indices))
        if in_order != content:
            replace_file(self._path, in_order)

    def retry(self) -> None:
        """Schedule all dropped pairs again, with as many attempts more, and remove the rows after the first of them.

        Call it before the run's `PairTable` is made. If the process dies meanwhile, the directory still resumes
        correctly: while a pair is dropped, its count of retries has no effect and the rows are restored from the
        journal. Scheduling the pairs is the last step, and atomic.

        Raises:
            MusicError: A file could not be read or written.
        """
        self._schedule_again(self.indices, self.indices)

    def reopen(self, failures: Collection[FailedPair]) -> None:
        """Schedule the last failed pairs of a stalled run again, as the cause may be external.

        Pairs that failed by an endpoint are simulated again without a count. Pairs with unusable replies get as many
        attempts more, at most `MAX_REOPENED` times, and then stay dropped. No row may follow these pairs.

        Raises:
            MusicError: A file could not be read or written.
        """
        useless = {failure.index for failure in failures if not failure.reason.is_of_endpoint}
        counted = {index for index in useless if self._num_retries[index] < MAX_REOPENED}
        self._schedule_again(counted | {failure.index for failure in failures} - useless, counted)

    def forget(self, indices: Collection[int]) -> None:
        """Schedule pairs again that are no longer dropped in the partitions that this log is merged from.

        Raises:
            MusicError: A file could not be read or written.
        """
        self._schedule_again(indices, ())

    def show(self, failures: Sequence[FailedPair]) -> None:
        """Replace the lines of pairs that are not dropped by these failures.

        Raises:
            MusicError: The file could not be written; it is unchanged.
        """
        self.put_in_order()
        self.append([failure for failure in failures if failure.index not in self.indices])

    def start_over(self) -> None:
        """Remove all failures and counts of retries, as the settings that caused them have changed.

        Raises:
            MusicError: A file could not be written.
        """
        self._retries_path.unlink(missing_ok=True)
        replace_file(self._path, b"")
        self._load(b"")
        self._num_retries.clear()

    def _schedule_again(self, indices: Collection[int], counted: Collection[int]) -> None:
        """Schedule indices again, and count a retry for those in `counted`."""
        indices = self.indices.intersection(indices)
        if not indices:
            return
        drop_rows(self._path.parent, min(indices))
        if counted:
            counts = self._num_retries + Counter(counted)
            written = orjson.dumps(counts, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS)
            replace_file(self._retries_path, written)
            self._num_retries = counts
        lines = self._path.read_bytes().splitlines(keepends=True)
        for number, failure in enumerate(map(orjson.loads, lines)):
            if int(failure["index"]) in indices:
                lines[number] = orjson.dumps(failure | {"dropped": False}, option=orjson.OPT_APPEND_NEWLINE)
        content = b"".join(lines)
        replace_file(self._path, content)
        self._load(content)

    def _load(self, content: bytes) -> None:
        """Count the failures of the lines of a file."""
        self.indices = set[int]()
        self.reasons, self.retries, self.judgements = Counter[str](), Counter[str](), Counter[str]()
        try:
            # Without the texts, as a large run has many.
            last = {
                int(record["index"]): (record["reason"], record["retries"], record["judgement"], record["dropped"])
                for record in map(orjson.loads, content.splitlines())
            }
        except (ValueError, TypeError, KeyError) as error:
            raise MusicError(
                f"{self._path}: expected one JSON object of a failed pair a line, got: {error!r}"
            ) from error
        for index, (reason, retries, judgement, is_dropped) in last.items():
            if is_dropped:
                self._count(index, reason, retries, judgement)

    def _count(self, index: int, reason: str, retries: Sequence[str], judgement: str) -> None:
        """Count a dropped pair."""
        self.indices.add(index)
        self.reasons[reason] += 1
        self.retries.update(retries)
        self.judgements[judgement] += 1

    def _read_retries(self) -> Counter[int]:
        """Read the number of retries of each index."""
        if not self._retries_path.exists():
            return Counter()
        try:
            return Counter(_COUNTS.validate_json(self._retries_path.read_bytes()))
        except ValidationError as error:
            path = self._retries_path
            raise MusicError(f"{path}: expected a JSON object of counts by index ({error}): put it back") from error


def read_failures(path: Path) -> list[FailedPair]:
    """Return the last failure of each index in a `failures.jsonl`, without a line that a crash left incomplete."""
    content = path.read_bytes() if path.exists() else b""
    lines = content[: content.rfind(b"\n") + 1].splitlines()
    last = {failure.index: failure for failure in map(_FAILED_PAIR.validate_json, lines)}
    return list(last.values())
