"""`Part`: one share of a run on disk, as the coordinator sees it while no worker is at it."""

from collections.abc import Collection, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import orjson

from music.errors import InvalidInputError
from music.files import replace_file
from music.llm.journal import Journal
from music.llm.spending.ledger import Ledger
from music.llm.spending.records import Spending
from music.pairs import ContrastivePair
from music_agents.failures import FailedPair
from music_agents.output.failure_log import FailureLog, read_failures
from music_agents.output.shard_folder import close_gap, has_rows
from music_agents.output.shards import PairTable
from music_agents.quality import read_saved_pairs
from music_agents.run import RunReport, RunStatus, Share, SimulationJob
from music_agents.run.changes import free_settings, has_changed
from music_agents.run.config import FREE_WITHOUT_ROWS
from music_agents.run.report import read_report
from music_agents.run.session import FAILURES, JOURNAL, REPORT, SHARES

__all__ = ["SHARES", "Part", "is_shared", "open_partitions"]


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

    @property
    def has_rows(self) -> bool:
        """Whether it holds pairs."""
        return self.directory.exists() and has_rows(self.directory)

    def share(self, end: int) -> Share:
        """Return the share, up to an index."""
        return Share(self.number, self._num_shares, end)

    def has_ended(self, end: int, shard_size: int) -> bool:
        """Whether all its indices below `end` came to an outcome."""
        wanted, report = self.share(end).indices(), self.report
        is_complete = report is not None and report.status is RunStatus.COMPLETE and report.num_wanted >= len(wanted)
        return not wanted or (is_complete and self.ended(shard_size).issuperset(wanted))

    def failures(self) -> list[FailedPair]:
        """Return the last failure of each index; those that are not dropped are to be simulated again."""
        return read_failures(self.directory / FAILURES)

    def dropped(self) -> list[FailedPair]:
        """Return its pairs that came to nothing."""
        return [failure for failure in self.failures() if failure.dropped]

    def reopen(self, failures: Collection[FailedPair]) -> None:
        """Take up those of its pairs again with which the run stalled."""
        own = [failure for failure in failures if failure.index in self.share(failure.index + 1).indices()]
        if own:
            FailureLog(self.directory / FAILURES).reopen(own)

    def prepare(self, job: SimulationJob) -> None:
        """Restore order where shards are missing, and forget the failures that came of other settings."""
        if not self.directory.exists():
            return
        if (self.directory / JOURNAL).exists():
            close_gap(self.directory)
        settings = job.config.fixed()
        if has_changed(self.report, settings, free_settings(self.directory, settings)):
            FailureLog(self.directory / FAILURES).start_over()

    def ended(self, shard_size: int) -> frozenset[int]:
        """Return its indices that came to an outcome on disk."""
        failed = [failure.index for failure in self.dropped()]
        return PairTable(self.directory, shard_size, failed).ended if self.directory.exists() else frozenset()

    def pairs(self) -> Iterator[ContrastivePair]:
        """Yield its pairs in order."""
        return read_saved_pairs(self.directory) if self.directory.exists() else iter(())

    async def spending(self, job: SimulationJob) -> Spending:
        """Return what its paid replies came to, those of a session that was killed included.

        Raises:
            JournalLockedError: A worker is at it.
            ChangedSettingsError: There are pairs, and settings changed that they depend on.
            InvalidInputError: The budget bounds the cost and a model's price is not known.
        """
        ledger: Ledger = job.progress().ledger
        report = self.report
        endpoints = report.endpoints if report is not None else job.endpoints.by_role()
        async with AsyncExitStack() as stack:
            journal = None
            if report is not None and (self.directory / JOURNAL).exists():
                # Under its own settings, less those that may change: the worker checks if these are the job's, too.
                free = free_settings(self.directory, report.settings)
                settings = report.settings | {name: job.config.fixed()[name] for name in FREE_WITHOUT_ROWS}
                journal = await stack.enter_async_context(Journal.open(self.directory / JOURNAL, settings, free))
            for role, endpoint in endpoints.items():
                ledger.open(role, endpoint, journal)
        return ledger.spending()


def is_shared(directory: Path) -> bool:
    """Whether a directory holds a run that was begun in shares."""
    return (directory / SHARES).exists()


def open_partitions(directory: Path, num_shares: int) -> list[Part]:
    """Return the shares of a run: as many as it was begun with, or `num_shares` if it begins now.

    Raises:
        InvalidInputError: The directory holds a run that was begun in one process.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if not is_shared(directory):
        if (directory / JOURNAL).exists():
            raise InvalidInputError(
                f"{directory} holds a run that was begun in one process: resume it without --processes and --ray, "
                "or give another output directory"
            )
        replace_file(directory / SHARES, orjson.dumps({"num_shares": num_shares}))
    recorded = int(orjson.loads((directory / SHARES).read_bytes())["num_shares"])
    return [Part(directory, number, recorded) for number in range(recorded)]
