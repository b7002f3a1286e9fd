"""`Part`: one share of a run on disk, as the coordinator sees it while no worker is at it."""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import orjson
from pydantic import TypeAdapter

from music.errors import InvalidInputError
from music.llm.journal import Journal
from music.llm.spending.ledger import Ledger
from music.llm.spending.records import Spending
from music.pairs import ContrastivePair
from music_agents.failures import FailedPair
from music_agents.output.shards import PairTable, replace_file
from music_agents.quality import read_saved_pairs
from music_agents.run import RunReport, RunStatus, Share, SimulationJob
from music_agents.run.report import read_report
from music_agents.run.session import FAILURES, JOURNAL, REPORT, SHARES

__all__ = ["SHARES", "Part", "is_shared", "open_parts"]

_FAILED_PAIR = TypeAdapter(FailedPair)


class Part:
    """One share's directory.

    Args:
        run_directory: Of the whole run.
        number: Which share.
        num_shares: Of how many.

    Attributes:
        directory: Of the share.
        number: Which share.
    """

    def __init__(self, run_directory: Path, number: int, num_shares: int) -> None:
        self.directory = run_directory / f"share-{number:04d}"
        self.number = number
        self._num_shares = num_shares

    @property
    def report(self) -> RunReport | None:
        """What its last session left; None before the first."""
        return read_report(self.directory / REPORT)

    def share(self, end: int) -> Share:
        """Return the share, up to an index."""
        return Share(self.number, self._num_shares, end)

    def has_ended(self, end: int) -> bool:
        """Whether all its indices below `end` came to an outcome."""
        wanted, report = len(self.share(end).indices()), self.report
        return not wanted or (
            report is not None and report.status is RunStatus.COMPLETE and report.num_wanted >= wanted
        )

    def failures(self) -> list[FailedPair]:
        """Return its pairs that came to nothing; a line that a crash tore is left to the next session."""
        path = self.directory / FAILURES
        content = path.read_bytes() if path.exists() else b""
        return [_FAILED_PAIR.validate_json(line) for line in content.splitlines(keepends=True) if line[-1:] == b"\n"]

    def keep_failures(self, below: int) -> None:
        """Forget the failures from an index on; no pair may come after them."""
        kept = [failure for failure in self.failures() if failure.index < below]
        lines = (orjson.dumps(failure, option=orjson.OPT_APPEND_NEWLINE) for failure in kept)
        replace_file(self.directory / FAILURES, b"".join(lines))

    def ended(self, shard_size: int) -> frozenset[int]:
        """Return its indices that came to an outcome on disk."""
        failed = [failure.index for failure in self.failures()]
        return PairTable(self.directory, shard_size, failed).ended if self.directory.exists() else frozenset()

    def pairs(self) -> Iterator[ContrastivePair]:
        """Yield its pairs in order."""
        return read_saved_pairs(self.directory) if self.directory.exists() else iter(())

    async def spending(self, job: SimulationJob) -> Spending:
        """Return what its paid replies came to, those of a session that was killed included.

        Raises:
            JournalLockedError: A worker is at it.
            InvalidInputError: The budget bounds the cost and a model's price is not known.
        """
        ledger: Ledger = job.progress().ledger
        report = self.report
        endpoints = report.endpoints if report is not None else job.endpoints.by_role()
        async with AsyncExitStack() as stack:
            journal = None
            if report is not None and (self.directory / JOURNAL).exists():
                # Under its own settings: whether these are the job's, too, is checked by the worker.
                journal = await stack.enter_async_context(Journal.open(self.directory / JOURNAL, report.settings))
            for role, endpoint in endpoints.items():
                ledger.open(role, endpoint, journal)
        return ledger.spending()


def is_shared(directory: Path) -> bool:
    """Whether a directory holds a run that was begun in shares."""
    return (directory / SHARES).exists()


def open_parts(directory: Path, num_shares: int) -> list[Part]:
    """Return the shares of a run: as many as it was begun with, or `num_shares` if it begins now.

    Raises:
        InvalidInputError: The directory holds a run that was begun in one process.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if not is_shared(directory):
        if (directory / JOURNAL).exists():
            raise InvalidInputError(
                f"{directory} holds a run that was begun in one process: go on without --processes and --ray, "
                "or give another output directory"
            )
        replace_file(directory / SHARES, orjson.dumps({"num_shares": num_shares}))
    recorded = int(orjson.loads((directory / SHARES).read_bytes())["num_shares"])
    return [Part(directory, number, recorded) for number in range(recorded)]
