"""`Session`: one go at a run, from the opening of its files to their closing."""

from contextlib import aclosing
from itertools import count
from pathlib import Path
from typing import Any

from music.errors import InvalidInputError
from music_agents.failures import FailedPair, FailureReason
from music_agents.output.failure_log import FailureLog
from music_agents.output.shards import PairTable, pair_index
from music_agents.progress import RunProgress, StopReason
from music_agents.quality import Diagnostics, JudgeFigures, diagnose, read_saved_pairs
from music_agents.run.config import SimulationConfig
from music_agents.run.report import RunReport, RunStatus, read_report, versions, write_report
from music_agents.run.share import Share
from music_agents.simulation import PairIndices, PairMaker, SimulationStalledError, run_pairs
from music_agents.simulator import Outcome

__all__ = ["FAILURES", "JOURNAL", "REPORT", "SHARES", "Session"]

JOURNAL = "journal.sqlite"
FAILURES = "failures.jsonl"
REPORT = "run.json"
SHARES = "shares.json"
"""Is in the directory of a run that `music_agents.scaleout` deals out to workers."""


class Session:
    """Takes outcomes into the files of a run, and leaves them in order however it ends."""

    def __init__(
        self,
        directory: Path,
        endpoints: dict[str, str],
        config: SimulationConfig,
        settings: dict[str, Any],
        failures: FailureLog,
        progress: RunProgress,
        share: Share | None,
    ) -> None:
        self._directory = directory
        self._endpoints = endpoints
        self._config = config
        self._settings = settings
        self._failures = failures
        self._progress = progress
        self._share = share
        order = share.indices() if share else count()
        self._table = PairTable(directory, config.shard_size, failures.indices, order)
        self._unsettled: list[FailedPair] = []
        self._was_interrupted = False
        earlier = read_report(directory / REPORT)
        self._earlier_seconds = earlier.wall_seconds if earlier else 0.0
        num_wanted = len(share.indices()) if share else config.num_pairs
        if share is None and self._table.num_pairs > num_wanted:  # a share may be ahead when failed pairs are retried
            raise InvalidInputError(
                f"{directory} holds {self._table.num_pairs} pairs already, more than the {num_wanted} wanted: "
                "ask for at least as many, or give another output directory"
            )
        progress.begin(num_wanted, self._table.num_pairs, failures.reasons)

    async def run(self, maker: PairMaker) -> RunReport:
        """Make what is missing, and leave the files in order however that ends."""
        status = RunStatus.INTERRUPTED
        self._save(RunStatus.RUNNING)
        try:
            await self._make(maker)
            status = self._end()
        except SimulationStalledError as error:
            self._progress.stop(StopReason.STALLED, str(error))
            status = RunStatus.STALLED
            raise
        finally:
            self._table.flush()
            report = self._save(status)
        return report

    async def _make(self, maker: PairMaker) -> None:
        """Take and record outcomes until all pairs are there or the session is to stop."""
        outcomes = run_pairs(maker, self._indices(), self._config.max_in_flight)
        async with aclosing(outcomes):
            async for outcome in outcomes:
                self._record(outcome)

    def _indices(self) -> PairIndices:
        """Return the indices that are still to come to an outcome."""
        ended = self._table.ended
        if self._share is not None:
            return PairIndices((index for index in self._share.indices() if index not in ended), None)
        missing = self._config.num_pairs - self._table.num_pairs
        return PairIndices((index for index in count() if index not in ended), missing)

    def _record(self, outcome: Outcome) -> None:
        """Take one outcome.

        Failures are settled by the next pair that comes out well. Those that a session ends with, as it does when an
        endpoint is down, are forgotten, and tried again when the run goes on.
        """
        if not isinstance(outcome, FailedPair):
            self._settle()
            self._table.add(pair_index(outcome.id), outcome)
            self._progress.end_pair(pair_index(outcome.id))
        elif outcome.reason is FailureReason.INTERRUPTED:
            self._was_interrupted = True
        else:
            self._unsettled.append(outcome)
            self._progress.end_pair(outcome.index, outcome.reason)

    def _end(self) -> RunStatus:
        """Settle what is left if nothing more is wanted, and say where the run stands.

        Raises:
            SimulationStalledError: It stopped as most calls failed.
        """
        if self._was_interrupted:
            if self._progress.stop_reason is StopReason.STALLED:
                raise SimulationStalledError(self._progress.stop_detail)
            return RunStatus.BUDGET if self._progress.stop_reason is StopReason.BUDGET else RunStatus.INTERRUPTED
        self._settle()
        self._failures.put_in_order()
        return RunStatus.COMPLETE

    def _settle(self) -> None:
        """Write the failures that wait, before the table can pass over their indices."""
        self._failures.append(self._unsettled)
        for failure in self._unsettled:
            self._table.add(failure.index, None)
        self._unsettled.clear()

    def _save(self, status: RunStatus) -> RunReport:
        """Write `run.json`."""
        report = RunReport(
            status=status,
            detail=self._progress.stop_detail,
            num_wanted=self._progress.num_wanted,
            num_pairs=self._table.num_pairs,
            failures=self._failures.reasons,
            retries=self._table.retries + self._failures.retries,
            replies=self._progress.replies,
            judge=self._judge_figures(),
            spending=self._progress.ledger.spending(),
            wall_seconds=round(self._earlier_seconds + self._progress.seconds, 3),
            diagnostics=self._diagnose() if status is RunStatus.COMPLETE else None,
            endpoints=self._endpoints,
            unsupported=self._progress.unsupported,
            settings=self._settings,
            versions=versions(),
        )
        write_report(self._directory / REPORT, report)
        return report

    def _judge_figures(self) -> JudgeFigures | None:
        """Count what the judge said of the pairs that came to an outcome, if there is one."""
        judgements = self._table.judgements + self._failures.judgements
        return JudgeFigures.of(judgements) if "judge" in self._endpoints else None

    def _diagnose(self) -> Diagnostics | None:
        """Look at the finished set; a share of one is not looked at."""
        return None if self._share else diagnose(read_saved_pairs(self._directory), self._failures.reasons)
