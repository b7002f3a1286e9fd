"""`run_distributed`: one run, its indices partitioned among workers.

    shares.json        number of partitions at the start of the run
    share-0000, ...    one run for every partition: journal, shards, failures, run.json
    other files        as those of a run in one process, merged from the partitions; the journal serves as a lock

The partitions are simulated up to a common end: the number of pairs wanted. One index is added for each failed pair,
until no pair fails. The output equals that of one process: the good pairs with the lowest indices, in order.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from music.errors import InvalidInputError
from music.llm.journal import Journal
from music.llm.spending.budget import Budget
from music_agents.config import SimulationConfig
from music_agents.output.failure_log import FailureLog
from music_agents.output.pair_table import PairTable
from music_agents.output.shard_folder import close_gap
from music_agents.progress import RunProgress, StopCause
from music_agents.quality import JudgeFigures, diagnose_pairs, read_saved_pairs
from music_agents.run import RunReport, RunStatus
from music_agents.run.card import write_pairs_card
from music_agents.run.report import read_report, versions, write_report
from music_agents.run.session import FAILURES, JOURNAL, REPORT
from music_agents.scaleout.aggregate import ProgressAggregate
from music_agents.scaleout.partitions import Outcomes, PartitionFolder, load_partitions
from music_agents.scaleout.tasks import PartitionFailedError, PartitionFailure, WorkerPool, allocate
from music_agents.stall_detection import FailureStreak, SimulationStalledError

__all__ = ["Display", "run_distributed"]

Display = Callable[[ProgressAggregate], AbstractAsyncContextManager[None]]
"""Shows the progress of a run while a block runs."""


async def run_distributed(
    config: SimulationConfig,
    directory: Path,
    pool: WorkerPool,
    progress: RunProgress,
    *,
    retry_failed: bool = False,
    probe: bool = False,
    display: Display,
) -> RunReport:
    """Simulate pairs with a pool of workers, or resume, as `music_agents.run_simulation` does.

    A new run gets as many partitions as the pool has workers, and keeps them; it may resume with another pool.

    Args:
        config: Settings of the run.
        directory: The directory of the run; all workers see it under the same path.
        pool: The workers.
        progress: Of the whole run; its `stop()` ends all workers cleanly.
        retry_failed: Whether failed pairs are tried again.
        probe: Whether every endpoint over HTTP gets one request before the first pair.
        display: Shows the progress.

    Raises:
        PartitionFailedError: A worker died or gave up; the same call resumes.
        SimulationStalledError: Nearly all recent pairs failed.
        JournalLockedError: Another process uses the directory.
        InvalidInputError: The directory holds a run of one process, or more pairs than are wanted.
    """
    folders = load_partitions(directory, pool.num_workers)
    async with Journal.open(directory / JOURNAL, {}):
        for folder in folders:
            folder.prepare(config)
        close_gap(directory)
        if retry_failed:
            FailureLog(directory / FAILURES).retry()
        coordinator = _Coordinator(config, directory, folders, pool, progress)
        await coordinator.load_spending()
        async with display(coordinator.aggregate):
            return await coordinator.run(retry_failed, probe)


class _Coordinator:
    """One session of a partitioned run."""

    def __init__(
        self,
        config: SimulationConfig,
        directory: Path,
        folders: list[PartitionFolder],
        pool: WorkerPool,
        progress: RunProgress,
    ) -> None:
        self._config = config
        self._directory = directory
        self._folders = folders
        self._pool = pool
        self._progress = progress
        self._budget = Budget(max_cost=config.max_cost, max_total_tokens=config.max_total_tokens)
        self.aggregate = ProgressAggregate(progress, self._budget)
        earlier = read_report(directory / REPORT)
        self._earlier_seconds = earlier.wall_seconds if earlier else 0.0
        log = FailureLog(directory / FAILURES)
        table = PairTable(directory, config.shard_size, log.indices)
        if table.num_pairs > config.num_pairs:
            raise InvalidInputError(
                f"{directory} holds {table.num_pairs} pairs already, more than the {config.num_pairs} wanted: "
                "ask for at least as many, or give another output directory"
            )
        self._known = self._outcomes().dropped
        progress.begin(config.num_pairs, table.num_pairs, log.reasons)

    async def load_spending(self) -> None:
        """Load the spending of the partitions."""
        # Those with pairs first: if they refuse the settings, no other partition has changed its own.
        for folder in sorted(self._folders, key=lambda folder: not folder.has_rows):
            self.aggregate.rest(folder.number, folder.report, await folder.spending(self._config))

    async def run(self, retry_failed: bool, probe: bool) -> RunReport:
        """Simulate the missing pairs, and leave the files consistent however that ends."""
        self._save(RunStatus.RUNNING)
        status = RunStatus.INTERRUPTED
        try:
            await self._simulate(retry_failed, probe)
            if not self._progress.stopping:
                status = RunStatus.COMPLETE
            elif self._progress.stop_reason is StopCause.BUDGET:
                status = RunStatus.BUDGET
        except SimulationStalledError as error:
            self._progress.stop(StopCause.STALLED, str(error))
            status = RunStatus.STALLED
            raise
        finally:
            report = self._save(status)
        return report

    async def _simulate(self, retry_failed: bool, probe: bool) -> None:
        """Run rounds of tasks until no pair is missing or the run stops."""
        end = self._config.num_pairs if retry_failed else self._outcomes().end
        while not self._progress.stopping and (todo := self._todo(end, retry_failed)):
            if detail := self._exhausted():
                self._progress.stop(StopCause.BUDGET, detail)
                return
            await self._round(todo, end, retry_failed, probe)
            retry_failed = probe = False
            self._give_up_at_dead_end(end)
            end = self._outcomes().end

    def _todo(self, end: int, retry_failed: bool) -> list[PartitionFolder]:
        """Return the partitions that have work up to an index."""
        size = self._config.shard_size
        return [
            folder for folder in self._folders if not folder.has_ended(end, size) or (retry_failed and folder.dropped())
        ]

    async def _round(self, todo: list[PartitionFolder], end: int, retry_failed: bool, probe: bool) -> None:
        """Run the tasks of partitions, each until it ends or its part of the budget is spent.

        Raises:
            PartitionFailedError: A worker died or gave up.
        """
        spent = {folder.number: self.aggregate.spending_of(folder.number) for folder in self._folders}
        tasks = allocate(self._config, todo, end, self._pool.num_workers, spent, retry_failed=retry_failed, probe=probe)
        results = await self._pool.run(tasks, self.aggregate)
        for number, result in results.items():
            spending = result.spending if isinstance(result, RunReport) else self.aggregate.spending_of(number)
            self.aggregate.rest(number, self._folders[number].report, spending)
        for number, result in results.items():
            if isinstance(result, PartitionFailure):
                raise PartitionFailedError(f"share {number} of {len(self._folders)}: {result.detail}")
        reports = [result for result in results.values() if isinstance(result, RunReport)]
        at_bound = [report for report in reports if report.status is RunStatus.BUDGET]
        if at_bound and len(at_bound) == len(reports):  # else the others left budget for another round
            self._progress.stop(StopCause.BUDGET, self._exhausted() or at_bound[0].detail)

    def _exhausted(self) -> str:
        """Return the bound of the budget that is reached; empty if none is."""
        spending = self.aggregate.spending()
        return self._budget.reached(spending.cost or 0.0, spending.num_tokens)

    def _give_up_at_dead_end(self, end: int) -> None:
        """Stop the run if the last pairs all failed, and reopen them, as one process does.

        Raises:
            SimulationStalledError: They all failed.
        """
        outcomes = self._outcomes()
        failures = outcomes.streak(end, self._known)
        num_failed = len(outcomes.dropped) - len(failures)
        streak = FailureStreak(end - len(outcomes.dropped), num_failed)
        for failure in failures:
            streak.add(failure)
        try:
            streak.check()
        except SimulationStalledError:
            for folder in self._folders:
                folder.reopen(failures)
            raise

    def _outcomes(self) -> Outcomes:
        return Outcomes(self._folders, self._config.num_pairs, self._config.shard_size)

    def _save(self, status: RunStatus) -> RunReport:
        """Merge the partitions, and write `run.json`."""
        table, failures = self._outcomes().merge(self._directory)
        reports = [report for folder in self._folders if (report := folder.report)]
        first = next(iter(reports), None)
        replies: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for role, kinds in (item for report in reports for item in report.replies.items()):
            replies[role].update(kinds)
        judgements = table.judgements + failures.judgements
        if is_complete := status is RunStatus.COMPLETE:
            failures.put_in_order()
        report = RunReport(
            status=status,
            detail=self._progress.stop_detail,
            num_wanted=self._config.num_pairs,
            num_pairs=table.num_pairs,
            failures=failures.reasons,
            retries=table.retries + failures.retries,
            replies=replies,
            judge=JudgeFigures.of(judgements) if self._config.judge else None,
            spending=self.aggregate.spending(),
            wall_seconds=round(self._earlier_seconds + self._progress.seconds, 3),
            diagnostics=diagnose_pairs(read_saved_pairs(self._directory), failures.reasons) if is_complete else None,
            endpoints=first.endpoints if first else self._config.endpoints(),
            unsupported={name: refused for report in reports for name, refused in report.unsupported.items()},
            settings=(first.settings if first else {}) | {"share": f"all, in {len(self._folders)} shares"},
            versions=versions(),
        )
        write_report(self._directory / REPORT, report)
        write_pairs_card(self._directory, report)
        return report
