"""`PartitionFolder`: one partition on disk, while no worker has it; `Outcomes`: the outcomes of all partitions."""

import heapq
from collections.abc import Collection, Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import count, takewhile
from pathlib import Path

import orjson

from music.errors import InvalidInputError
from music.files import replace_file
from music.llm.journal import Journal
from music.llm.spending.ledger import Ledger
from music.llm.spending.records import Spending
from music.pairs import ContrastivePair
from music_agents.config import FREE_WITHOUT_ROWS, SimulationConfig
from music_agents.failures import FailedPair
from music_agents.output.failure_log import FailureLog, read_failures
from music_agents.output.pair_table import PairTable
from music_agents.output.shard_folder import close_gap, has_rows, pair_index
from music_agents.quality import read_saved_pairs
from music_agents.run import Partition, RunReport, RunStatus
from music_agents.run.report import read_report
from music_agents.run.roles import make_progress
from music_agents.run.session import FAILURES, JOURNAL, PARTITIONS, REPORT
from music_agents.run.settings import free_settings, has_changed

__all__ = ["PARTITIONS", "Outcomes", "PartitionFolder", "is_partitioned", "load_partitions"]


class PartitionFolder:
    """One partition's directory.

    Args:
        run_directory: Of the whole run.
        number: Number of the partition, from 0.
        num_partitions: Number of partitions.

    Attributes:
        directory: Of the partition.
        number: Number of the partition.
    """

    def __init__(self, run_directory: Path, number: int, num_partitions: int) -> None:
        self.directory = run_directory / f"share-{number:04d}"
        self.number = number
        self._num_partitions = num_partitions

    @property
    def report(self) -> RunReport | None:
        """The report of its last session; None before the first."""
        return read_report(self.directory / REPORT)

    @property
    def has_rows(self) -> bool:
        """Whether it holds pairs."""
        return self.directory.exists() and has_rows(self.directory)

    def partition(self, end: int) -> Partition:
        """Return the partition's indices, up to an index."""
        return Partition(self.number, self._num_partitions, end)

    def has_ended(self, end: int, shard_size: int) -> bool:
        """Whether all its indices below `end` have an outcome."""
        wanted, report = self.partition(end).indices(), self.report
        is_complete = report is not None and report.status is RunStatus.COMPLETE and report.num_wanted >= len(wanted)
        return not wanted or (is_complete and self.ended(shard_size).issuperset(wanted))

    def failures(self) -> list[FailedPair]:
        """Return the last failure of each index; those that are not dropped are simulated again."""
        return read_failures(self.directory / FAILURES)

    def dropped(self) -> list[FailedPair]:
        """Return its failed pairs."""
        return [failure for failure in self.failures() if failure.dropped]

    def reopen(self, failures: Collection[FailedPair]) -> None:
        """Schedule those of its pairs again that are among the last failures of a stalled run."""
        own = [failure for failure in failures if failure.index in self.partition(failure.index + 1).indices()]
        if own:
            FailureLog(self.directory / FAILURES).reopen(own)

    def prepare(self, config: SimulationConfig) -> None:
        """Remove shards after a missing one, and failures of other settings."""
        if not self.directory.exists():
            return
        if (self.directory / JOURNAL).exists():
            close_gap(self.directory)
        settings = config.fixed()
        if has_changed(self.report, settings, free_settings(self.directory, settings)):
            FailureLog(self.directory / FAILURES).start_over()

    def ended(self, shard_size: int) -> frozenset[int]:
        """Return its indices with an outcome on disk."""
        failed = [failure.index for failure in self.dropped()]
        return PairTable(self.directory, shard_size, failed).ended if self.directory.exists() else frozenset()

    def pairs(self) -> Iterator[ContrastivePair]:
        """Yield its pairs in order."""
        return read_saved_pairs(self.directory) if self.directory.exists() else iter(())

    async def spending(self, config: SimulationConfig) -> Spending:
        """Return the cost of its paid replies, including those of a killed session.

        Raises:
            JournalLockedError: A worker has it.
            ChangedSettingsError: It has pairs, and settings changed that they depend on.
            InvalidInputError: The budget bounds the cost and a model's price is unknown.
        """
        ledger: Ledger = make_progress(config).ledger
        report = self.report
        endpoints = report.endpoints if report is not None else config.endpoints()
        async with AsyncExitStack() as stack:
            journal = None
            if report is not None and (self.directory / JOURNAL).exists():
                # With its own settings, except those that may change: the worker compares them with the config's.
                free = free_settings(self.directory, report.settings)
                settings = report.settings | {name: config.fixed()[name] for name in FREE_WITHOUT_ROWS}
                journal = await stack.enter_async_context(Journal.open(self.directory / JOURNAL, settings, free))
            for role, endpoint in endpoints.items():
                ledger.open(role, endpoint, journal)
        return ledger.spending()


def is_partitioned(directory: Path) -> bool:
    """Whether a directory holds a partitioned run."""
    return (directory / PARTITIONS).exists()


def load_partitions(directory: Path, num_partitions: int) -> list[PartitionFolder]:
    """Return the partitions of a run; a new run gets `num_partitions`.

    Raises:
        InvalidInputError: The directory holds a run of one process.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if not is_partitioned(directory):
        if (directory / JOURNAL).exists():
            raise InvalidInputError(
                f"{directory} holds a run that was begun in one process: resume it without --processes and --ray, "
                "or give another output directory"
            )
        replace_file(directory / PARTITIONS, orjson.dumps({"num_shares": num_partitions}))
    recorded = int(orjson.loads((directory / PARTITIONS).read_bytes())["num_shares"])
    return [PartitionFolder(directory, number, recorded) for number in range(recorded)]


class Outcomes:
    """The outcomes of all partitions on disk, while no worker has them.

    Args:
        folders: The partitions.
        num_wanted: Pairs wanted.
        shard_size: Rows of a full shard.
    """

    def __init__(self, folders: Sequence[PartitionFolder], num_wanted: int, shard_size: int) -> None:
        self._folders = folders
        self._num_wanted = num_wanted
        self._shard_size = shard_size
        failures = [failure for folder in folders for failure in folder.failures()]
        self._failures = {failure.index: failure for failure in failures if failure.dropped}
        self._open = [failure for failure in failures if not failure.dropped]

    @property
    def end(self) -> int:
        """The index below which all are wanted, given the failures so far: each adds one index."""
        end = self._num_wanted
        for index in sorted(self._failures):
            if index >= end:
                break
            end += 1
        return end

    @property
    def dropped(self) -> frozenset[int]:
        """Indices whose pairs failed."""
        return frozenset(self._failures)

    def streak(self, end: int, known: frozenset[int]) -> list[FailedPair]:
        """Return the failures in a row at the end of the indices below `end`, without the known ones."""
        fresh = self._failures.keys() - known
        indices = list(takewhile(fresh.__contains__, range(end - 1, -1, -1)))
        return [self._failures[index] for index in reversed(indices)]

    def merge(self, directory: Path) -> tuple[PairTable, FailureLog]:
        """Extend the run's own shards and failures with the outcomes of the partitions, up to the first missing one.

        If the process dies meanwhile, the files hold a valid prefix of the result.
        """
        ended = frozenset[int]().union(*(folder.ended(self._shard_size) for folder in self._folders))
        end = next(index for index in count() if index not in ended or index == self.end)
        log = FailureLog(directory / FAILURES)
        log.forget(log.indices - self.dropped)
        failed = [self._failures[index] for index in sorted(self._failures) if index < end]
        log.append([failure for failure in failed if failure.index not in log.indices])
        log.show(self._open)
        table = PairTable(directory, self._shard_size, log.indices)
        merged = table.ended
        pairs = heapq.merge(*(folder.pairs() for folder in self._folders), key=lambda pair: pair_index(pair.id))
        for pair in takewhile(lambda pair: pair_index(pair.id) < end, pairs):
            if pair_index(pair.id) not in merged:
                table.add(pair_index(pair.id), pair)
        table.flush()
        return table, log
