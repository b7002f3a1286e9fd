"""`LiveRun`: how far a simulation has come, from the files in its folder alone.

A run writes `run.json` every few seconds and appends to `failures.jsonl`. Nothing of it is locked, and its journal is
never opened: a run does not start while another process has it open. A run in shares has a folder for each of them.
"""

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
from pydantic import BaseModel, ValidationError

from music.llm.spending.records import Spending
from music.preferences.files import Row
from music.preferences.problems import RowError
from music.viewer.records import Record
from music.viewer.rows import UnknownShapeError, read_records
from music.viewer.sources import SHARE_PREFIX, SHARES

__all__ = ["Fault", "LiveRun", "RunFolders", "read_run"]

SILENT_SECONDS = 60.0
"""A run that has written nothing for so long may have been killed."""
_TAIL = 2**18
"""Bytes at the end of `failures.jsonl` that are read."""
_EXAMPLES = 3
_RECENT_SECONDS = 120.0
"""How far back the rate looks."""
_FOUND_SECONDS = 2.0
"""How long the runs that were found count as all there are."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A reason for which pairs failed.

    Attributes:
        reason: The reason.
        num: The number of pairs.
        examples: Its latest failures; of those with one description, one.
    """

    reason: str
    num: int
    examples: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRun:
    """A run as its files show it.

    Attributes:
        folder: Its folder.
        status: `running`, `silent` for one that may have been killed, or how it ended: `complete`, `interrupted`,
            `budget`, `stalled`.
        detail: Why it ended.
        num_wanted: Pairs wanted.
        num_pairs: Good pairs.
        num_waiting: Those of them that are not on disk yet: they wait for one with a lower index.
        num_calls: Paid calls.
        num_tokens: Their tokens.
        cost: Their cost in USD; None if a price is not known.
        seconds: Seconds that it has run so far.
        written: When it last wrote its report, in seconds since the epoch.
        faults: Failures by reason, the most frequent first.
        retries: Replies that were requested again, by `role:reason`.
        endpoints: The endpoint of each role.
        pairs_per_second: Its pace; None while it is not known.
    """

    folder: Path
    status: str
    detail: str
    num_wanted: int
    num_pairs: int
    num_waiting: int
    num_calls: int
    num_tokens: int
    cost: float | None
    seconds: float
    written: float
    faults: tuple[Fault, ...]
    retries: dict[str, int]
    endpoints: dict[str, str]
    pairs_per_second: float | None = None

    @property
    def is_running(self) -> bool:
        """Whether more may come."""
        return self.status == "running"

    @property
    def num_failed(self) -> int:
        """Pairs that failed."""
        return sum(fault.num for fault in self.faults)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until all pairs are there; None if unknown."""
        if not (self.is_running and self.pairs_per_second):
            return None
        return max(0, self.num_wanted - self.num_pairs) / self.pairs_per_second


class _Report(BaseModel):
    """What is used of `run.json`."""

    status: str
    detail: str = ""
    num_wanted: int
    num_pairs: int
    num_waiting: int = 0
    failures: dict[str, int] = {}
    retries: dict[str, int] = {}
    spending: Spending
    wall_seconds: float
    endpoints: dict[str, str] = {}


class RunFolders:
    """The runs among the folders of a viewer; remembers their pace."""

    def __init__(self) -> None:
        self._found: tuple[float, list[LiveRun]] = (0.0, [])
        self._paces: dict[Path, deque[tuple[float, int]]] = {}

    def runs(self, files: Iterable[str]) -> list[LiveRun]:
        """Return the runs that files belong to, the latest first."""
        if time.monotonic() - self._found[0] > _FOUND_SECONDS or not self._found[1]:
            folders = {_run_folder(Path(file).parent) for file in files}
            runs = [self._paced(run) for folder in sorted(folders) if (run := read_run(folder))]
            self._found = time.monotonic(), sorted(runs, key=lambda run: (not run.is_running, -run.written))
        return self._found[1]

    def _paced(self, run: LiveRun) -> LiveRun:
        """Return a run with its pace of the last minutes, or of all its time."""
        seen = self._paces.setdefault(run.folder, deque())
        if not seen or seen[-1][0] != run.written:
            seen.append((run.written, run.num_pairs))
        while len(seen) > 2 and seen[1][0] < run.written - _RECENT_SECONDS:
            seen.popleft()
        seconds, num = seen[-1][0] - seen[0][0], seen[-1][1] - seen[0][1]
        if seconds < _RECENT_SECONDS / 4 or num < 0:
            seconds, num = run.seconds, run.num_pairs
        return replace(run, pairs_per_second=num / seconds if num and seconds else None)


def read_run(folder: Path, now: float | None = None) -> LiveRun | None:
    """Return a run; None if the folder holds none.

    Args:
        folder: Its folder.
        now: The time; by default the present.
    """
    own = _read_report(folder)
    if own is None:
        return None
    report, written = own
    folders = [folder]
    if report.status == "running" and (folder / SHARES).exists():
        folders = sorted(folder.glob(f"{SHARE_PREFIX}*"))
        shares = [share for each in folders if (share := _read_report(each))]
        if shares:
            report, written = _summed(report, [share for share, _ in shares]), max(each for _, each in shares)
    age = max(0.0, (time.time() if now is None else now) - written)
    is_running = report.status == "running"
    return LiveRun(
        folder=folder,
        status="silent" if is_running and age > SILENT_SECONDS else report.status,
        detail=report.detail,
        num_wanted=report.num_wanted,
        num_pairs=report.num_pairs + report.num_waiting,
        num_waiting=report.num_waiting,
        num_calls=report.spending.num_calls,
        num_tokens=report.spending.num_tokens,
        cost=report.spending.cost,
        seconds=report.wall_seconds + (min(age, SILENT_SECONDS) if is_running else 0.0),
        written=written,
        faults=tuple(_faults(report.failures, [each / "failures.jsonl" for each in folders], report.status)),
        retries=report.retries,
        endpoints=report.endpoints,
    )


def _run_folder(folder: Path) -> Path:
    """Return the folder of the run that a folder belongs to: that of a share is in it."""
    return folder.parent if folder.name.startswith(SHARE_PREFIX) and (folder.parent / SHARES).exists() else folder


def _read_report(folder: Path) -> tuple[_Report, float] | None:
    """Return the report in a folder and when it was written; None if there is none."""
    path = folder / "run.json"
    try:
        return _Report.model_validate_json(path.read_bytes()), path.stat().st_mtime
    except (OSError, ValidationError):  # another program's file of that name
        return None


def _summed(whole: _Report, shares: Sequence[_Report]) -> _Report:
    """Return the report of a run in shares."""
    costs = [share.spending.cost for share in shares]
    spending = Spending(
        num_calls=sum(share.spending.num_calls for share in shares),
        num_tokens=sum(share.spending.num_tokens for share in shares),
        cost=None if None in costs else sum(cost or 0.0 for cost in costs),
    )
    counts = {
        name: dict(sum((Counter(getattr(share, name)) for share in shares), Counter()))
        for name in ("failures", "retries")
    }
    seconds = max(share.wall_seconds for share in shares)
    nums = {name: sum(getattr(share, name) for share in shares) for name in ("num_pairs", "num_waiting")}
    return whole.model_copy(update={"spending": spending, "wall_seconds": seconds, **nums, **counts})


def _faults(counts: dict[str, int], paths: Sequence[Path], status: str) -> Iterator[Fault]:
    """Yield the failures by reason; before a run is complete, its log has more than its counts."""
    latest: dict[str, Record] = {}
    for record in (record for path in paths for record in _last_failures(path)):
        latest.pop(record.id, None)
        latest[record.id] = record
    by_reason: dict[str, list[Record]] = {}
    for record in latest.values():
        by_reason.setdefault(record.source, []).append(record)
    nums = Counter(counts)
    if status != "complete":
        nums |= Counter({reason: len(records) for reason, records in by_reason.items()})
    for reason, num in nums.most_common():
        distinct = {str(record.details.get("detail")): record for record in by_reason.get(reason, ())}
        yield Fault(reason, num, tuple(distinct.values())[: -_EXAMPLES - 1 : -1])


def _last_failures(path: Path) -> Iterator[Record]:
    """Yield the failures at the end of a log, without a line that is still being written."""
    with suppress(OSError), path.open("rb") as file:
        start = max(0, path.stat().st_size - _TAIL)
        file.seek(start)
        lines = file.read(2 * _TAIL).split(b"\n")[1 if start else 0 : -1]
        for line in lines:
            with suppress(orjson.JSONDecodeError, RowError, UnknownShapeError):
                yield from read_records(Row(path.name, "line", 0, orjson.loads(line)), "")
