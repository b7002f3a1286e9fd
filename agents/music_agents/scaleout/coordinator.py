"""`simulate_in_shares`: one run, its indices dealt out to workers.

    shares.json        how many shares the run was begun with
    share-0000, ...    a run of its own for every share: journal, shards, failures, run.json
    all else           as a run in one process leaves it, merged from the shares; its journal is but a lock

The shares are simulated up to a common end, the number of pairs wanted; as many indices as failed are added, until
none fails any more. So the output is that of one process: the first indices that come out well, in order.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from music.errors import InvalidInputError
from music.llm.journal import Journal
from music.llm.spending.budget import Budget
from music_agents.output.failure_log import FailureLog
from music_agents.output.shard_folder import close_gap
from music_agents.output.shards import PairTable
from music_agents.progress import RunProgress, StopReason
from music_agents.quality import JudgeFigures, diagnose_pairs, read_saved_pairs
from music_agents.run import RunReport, RunStatus, SimulationJob
from music_agents.run.report import read_report, versions, write_report
from music_agents.run.session import FAILURES, JOURNAL, REPORT
from music_agents.scaleout.board import Board
from music_agents.scaleout.dealing import deal
from music_agents.scaleout.orders import Crew, ShareFailedError, ShareFailure
from music_agents.scaleout.outcomes import Outcomes
from music_agents.scaleout.part import Part, open_partitions
from music_agents.stalling import SimulationStalledError, Streak

__all__ = ["Display", "simulate_in_shares"]

Display = Callable[[Board], AbstractAsyncContextManager[None]]
"""Shows the figures of a run for as long as a block lasts."""


async def simulate_in_shares(
    job: SimulationJob,
    directory: Path,
    crew: Crew,
    progress: RunProgress,
    *,
    retry_failed: bool = False,
    probe: bool = False,
    display: Display,
) -> RunReport:
    """Do a job with a crew of workers, or go on with it; see `music_agents.run.run_simulation`.

    A run begins with as many shares as the crew has workers and keeps them; it may go on with another crew.

    Args:
        job: What is asked for.
        directory: Where the run is, or is to be; all workers see it under the same path.
        crew: The workers.
        progress: Of the whole run; its `stop()` ends all workers in order.
        retry_failed: Whether failed pairs are tried again.
        probe: Whether every endpoint over HTTP is asked once before the first pair.
        display: Shows the progress.

    Raises:
        ShareFailedError: A worker died or gave up; running the same again goes on.
        SimulationStalledError: Next to nothing but failures came for a while.
        JournalLockedError: Another process is at work on the directory.
        InvalidInputError: It holds a run that was begun in one process, or more pairs than are wanted.
    """
    parts = open_partitions(directory, crew.num_workers)
    async with Journal.open(directory / JOURNAL, {}):
        for part in parts:
            part.prepare(job)
        close_gap(directory)
        if retry_failed:
            FailureLog(directory / FAILURES).retry()
        coordinator = _Coordinator(job, directory, parts, crew, progress)
        await coordinator.open_books()
        async with display(coordinator.board):
            return await coordinator.run(retry_failed, probe)


class _Coordinator:
    """One go at a run in shares."""

    def __init__(
        self, job: SimulationJob, directory: Path, parts: list[Part], crew: Crew, progress: RunProgress
    ) -> None:
        self._job = job
        self._directory = directory
        self._parts = parts
        self._crew = crew
        self._progress = progress
        self._budget = Budget(max_cost=job.config.max_cost, max_total_tokens=job.config.max_total_tokens)
        self.board = Board(progress, self._budget)
        earlier = read_report(directory / REPORT)
        self._earlier_seconds = earlier.wall_seconds if earlier else 0.0
        log = FailureLog(directory / FAILURES)
        table = PairTable(directory, job.config.shard_size, log.indices)
        if table.num_pairs > job.config.num_pairs:
            raise InvalidInputError(
                f"{directory} holds {table.num_pairs} pairs already, more than the {job.config.num_pairs} wanted: "
                "ask for at least as many, or give another output directory"
            )
        self._known = self._outcomes().dropped
        progress.begin(job.config.num_pairs, table.num_pairs, log.reasons)

    async def open_books(self) -> None:
        """Find out what the shares have spent."""
        # Those with pairs first: if they refuse the job, no other has changed its settings.
        for part in sorted(self._parts, key=lambda part: not part.has_rows):
            self.board.rest(part.number, part.report, await part.spending(self._job))

    async def run(self, retry_failed: bool, probe: bool) -> RunReport:
        """Simulate what is missing, and leave the files in order however that ends."""
        self._save(RunStatus.RUNNING)
        status = RunStatus.INTERRUPTED
        try:
            await self._simulate(retry_failed, probe)
            status = self._status()
        except SimulationStalledError as error:
            self._progress.stop(StopReason.STALLED, str(error))
            status = RunStatus.STALLED
            raise
        finally:
            report = self._save(status)
        return report

    async def _simulate(self, retry_failed: bool, probe: bool) -> None:
        """Have rounds of work done until nothing more is wanted, or the run is to stop."""
        end = self._job.config.num_pairs if retry_failed else self._outcomes().end
        while not self._progress.stopping and (todo := self._todo(end, retry_failed)):
            if detail := self._exhausted():
                self._progress.stop(StopReason.BUDGET, detail)
                return
            await self._round(todo, end, retry_failed, probe)
            retry_failed = probe = False
            self._give_up_at_dead_end(end)
            end = self._outcomes().end

    def _todo(self, end: int, retry_failed: bool) -> list[Part]:
        """Return the shares that are to be simulated up to an index."""
        size = self._job.config.shard_size
        return [part for part in self._parts if not part.has_ended(end, size) or (retry_failed and part.dropped())]

    async def _round(self, todo: list[Part], end: int, retry_failed: bool, probe: bool) -> None:
        """Have shares simulated, each until it ends or may spend no more.

        Raises:
            ShareFailedError: A worker died or gave up.
        """
        spent = {part.number: self.board.spending_of(part.number) for part in self._parts}
        orders = deal(self._job, todo, end, self._crew.num_workers, spent, retry_failed=retry_failed, probe=probe)
        results = await self._crew.run(orders, self.board)
        for number, result in results.items():
            spending = result.spending if isinstance(result, RunReport) else self.board.spending_of(number)
            self.board.rest(number, self._parts[number].report, spending)
        for number, result in results.items():
            if isinstance(result, ShareFailure):
                raise ShareFailedError(f"share {number} of {len(self._parts)}: {result.detail}")
        reports = [result for result in results.values() if isinstance(result, RunReport)]
        at_bound = [report for report in reports if report.status is RunStatus.BUDGET]
        if at_bound and len(at_bound) == len(reports):  # else those that ended left something for another round
            self._progress.stop(StopReason.BUDGET, self._exhausted() or at_bound[0].detail)

    def _exhausted(self) -> str:
        """Say which bound of the budget is reached; nothing if none is."""
        spending = self.board.spending()
        return self._budget.reached(spending.cost or 0.0, spending.num_tokens)

    def _give_up_at_dead_end(self, end: int) -> None:
        """End the run as one process would if the last pairs all failed, and take them up again as it would.

        Raises:
            SimulationStalledError: They did.
        """
        outcomes = self._outcomes()
        failures = outcomes.streak(end, self._known)
        num_failed = len(outcomes.dropped) - len(failures)
        streak = Streak(end - len(outcomes.dropped), num_failed)
        for failure in failures:
            streak.add(failure)
        try:
            streak.check()
        except SimulationStalledError:
            for part in self._parts:
                part.reopen(failures)
            raise

    def _judge_figures(self, table: PairTable, failures: FailureLog) -> JudgeFigures | None:
        """Count what the judge said, if there is one."""
        return JudgeFigures.of(table.judgements + failures.judgements) if self._job.endpoints.judge else None

    def _replies(self) -> dict[str, Counter[str]]:
        """Add up what was taken out of the replies of all shares, by role."""
        total: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for part in self._parts:
            for role, kinds in (part.report.replies if part.report else {}).items():
                total[role].update(kinds)
        return total

    def _outcomes(self) -> Outcomes:
        return Outcomes(self._parts, self._job.config.num_pairs, self._job.config.shard_size)

    def _status(self) -> RunStatus:
        """Say where the run stands."""
        if not self._progress.stopping:
            return RunStatus.COMPLETE
        return RunStatus.BUDGET if self._progress.stop_reason is StopReason.BUDGET else RunStatus.INTERRUPTED

    def _save(self, status: RunStatus) -> RunReport:
        """Merge what the shares hold, and write `run.json`."""
        table, failures = self._outcomes().merge(self._directory)
        reports = [report for part in self._parts if (report := part.report)]
        first = next(iter(reports), None)
        if status is RunStatus.COMPLETE:
            failures.put_in_order()
        is_complete = status is RunStatus.COMPLETE
        report = RunReport(
            status=status,
            detail=self._progress.stop_detail,
            num_wanted=self._job.config.num_pairs,
            num_pairs=table.num_pairs,
            failures=failures.reasons,
            retries=table.retries + failures.retries,
            replies=self._replies(),
            judge=self._judge_figures(table, failures),
            spending=self.board.spending(),
            wall_seconds=round(self._earlier_seconds + self._progress.seconds, 3),
            diagnostics=diagnose_pairs(read_saved_pairs(self._directory), failures.reasons) if is_complete else None,
            endpoints=first.endpoints if first else self._job.endpoints.by_role(),
            unsupported={name: refused for report in reports for name, refused in report.unsupported.items()},
            settings=(first.settings if first else {}) | {"share": f"all, in {len(self._parts)} shares"},
            versions=versions(),
        )
        write_report(self._directory / REPORT, report)
        return report
