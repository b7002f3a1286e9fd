"""`FailureLog`: the failed pairs, written as they fail, and how often each was tried again.

`failures.jsonl` holds a line each time that a pair fails. The last line of an index counts: it is `dropped` once the
next index has taken its place; else it is simulated again when the run resumes. A complete run keeps a line for each
dropped pair, in the order of the indices. `retries.json` keeps how often the replies of an index were given up and
asked for anew, and so which replies its pair is made of.
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
"""How often a pair whose replies were unusable is tried again without being asked to."""

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
        """Return how often the replies of an index were given up and asked for anew, in all sessions."""
        return self._num_retries[index]

    def append(self, failures: Sequence[FailedPair], *, durable: bool = True) -> None:
        """Write failures.

        Args:
            failures: Each with whether its pair is dropped.
            durable: Whether they are to be on disk when this returns; what the journal gives again need not be.

        Raises:
            MusicError: They could not be written; the file is as it was.
        """
        if not failures:
            return
        lines = (orjson.dumps(failure, option=orjson.OPT_APPEND_NEWLINE) for failure in failures)
        append_to_file(self._path, b"".join(lines), is_durable=durable)
        for failure in failures:
            if failure.dropped:
                self._count(failure.index, str(failure.reason), failure.retries, failure.judgement)

    def put_in_order(self) -> None:
        """Keep a line for each dropped pair, in the order of the indices, so that the file does not depend on timing.

        Raises:
            MusicError: The file could not be written; it is as it was.
        """
        content = self._path.read_bytes()
        last = {int(orjson.loads(line)["index"]): line for line in content.splitlines(keepends=True)}
        in_order = b"".join(last[index] for index in sorted(self.indices))
        if in_order != content:
            replace_file(self._path, in_order)

    def retry(self) -> None:
        """Take all dropped pairs up again, each with as many attempts more, and take back the rows behind the first.

        Call it before the run's `PairTable` is made. A process that dies on the way leaves a directory that resumes
        rightly: while a pair is still dropped, its count of retries means nothing and the rows are made again from
        the journal; the pairs are taken up last, in one step.

        Raises:
            MusicError: A file could not be read or written.
        """
        self._take_up(self.indices, self.indices)

    def reopen(self, failures: Collection[FailedPair]) -> None:
        """Take up again the pairs with which a run stalled: the fault may be elsewhere, and no row stands behind them.

        Those that an endpoint failed are tried again as if nothing had been; those whose replies were unusable with
        as many attempts more, `MAX_REOPENED` times at most. After that they stay dropped.

        Raises:
            MusicError: A file could not be read or written.
        """
        useless = {failure.index for failure in failures if not failure.reason.is_of_endpoint}
        counted = {index for index in useless if self._num_retries[index] < MAX_REOPENED}
        self._take_up(counted | {failure.index for failure in failures} - useless, counted)

    def forget(self, indices: Collection[int]) -> None:
        """Take up pairs again that are dropped no longer where this log has its failures from.

        Raises:
            MusicError: A file could not be read or written.
        """
        self._take_up(indices, ())

    def show(self, failures: Sequence[FailedPair]) -> None:
        """Have these be the lines of pairs that are not dropped, in the place of any that are there.

        Raises:
            MusicError: The file could not be written; it is as it was.
        """
        self.put_in_order()
        self.append([failure for failure in failures if failure.index not in self.indices])

    def start_over(self) -> None:
        """Forget every failure and every retry, as nothing that they came from holds any more.

        Raises:
            MusicError: A file could not be written.
        """
        self._retries_path.unlink(missing_ok=True)
        replace_file(self._path, b"")
        self._load(b"")
        self._num_retries.clear()

    def _take_up(self, indices: Collection[int], counted: Collection[int]) -> None:
        """Let indices be simulated again, and count that for some of them."""
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
        """Count what lines say."""
        self.indices = set[int]()
        self.reasons, self.retries, self.judgements = Counter[str](), Counter[str](), Counter[str]()
        try:
            # The texts are not kept: a large run has many.
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
        """Read how often each index was retried."""
        if not self._retries_path.exists():
            return Counter()
        try:
            return Counter(_COUNTS.validate_json(self._retries_path.read_bytes()))
        except ValidationError as error:
            path = self._retries_path
            raise MusicError(f"{path}: expected a JSON object of counts by index ({error}): put it back") from error


def read_failures(path: Path) -> list[FailedPair]:
    """Return the last failure of each index in a `failures.jsonl`; a line that a crash tore is left out."""
    content = path.read_bytes() if path.exists() else b""
    lines = content[: content.rfind(b"\n") + 1].splitlines()
    last = {failure.index: failure for failure in map(_FAILED_PAIR.validate_json, lines)}
    return list(last.values())
