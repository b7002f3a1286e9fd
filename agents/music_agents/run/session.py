"""`Session`: one session of a run, which writes its files."""

import asyncio
import time
from contextlib import aclosing, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from music.errors import InvalidInputError, MusicError
from music_agents.config import FREE_WITHOUT_ROWS, SimulationConfig
from music_agents.failures import FailedPair, FailureReason
from music_agents.output.failure_log import FailureLog
from music_agents.output.pair_table import PairTable
from music_agents.output.shard_folder import pair_index
from music_agents.pair_simulator import Outcome
from music_agents.progress import RunProgress, StopCause
from music_agents.quality import JudgeFigures, diagnose_pairs, read_saved_pairs
from music_agents.run.card import write_pairs_card
from music_agents.run.report import RunReport, RunStatus, read_report, versions, write_report
from music_agents.run.settings import Partition
from music_agents.simulation import PairIndices, PairMaker, run_pairs
from music_agents.stall_detection import FailureStreak, SimulationStalledError

__all__ = ["FAILURES", "JOURNAL", "PARTITIONS", "REPORT", "Session"]

JOURNAL = "journal.sqlite"
FAILURES = "failures.jsonl"
REPORT = "run.json"
PARTITIONS = "shares.json"
"""Marks the directory of a run whose partitions `music_agents.scaleout` allocates to workers."""

FLUSH_SECONDS = 5.0
"""Delay until a finished pair is on disk, if all pairs with lower indices have ended."""
FLUSH_SHARE = 500
"""Writing the unfinished shard takes at most one part in 500 of a session's time, which keeps `loop_lag_p99` below
0.05 s. The same holds for reports."""
REPORT_SECONDS = 5.0
"""How often `run.json` is written during a session, for those who watch it."""


class Session:
    """Writes outcomes to the files of a run, and leaves the files consistent however it ends."""

    def __init__(
        self,
        directory: Path,
        endpoints: dict[str, str],
        config: SimulationConfig,
        settings: dict[str, Any],
        failures: FailureLog,
        progress: RunProgress,
        partition: Partition | None,
    ) -> None:
        self._directory = directory
        self._endpoints = endpoints
        self._config = config
        self._settings = settings
        self._failures = failures
        self._progress = progress
        self._partition = partition
        order = partition.indices() if partition else count()
        self._table = PairTable(directory, config.shard_size, failures.indices, order)
        self._unsettled: list[FailedPair] = []
        self._was_interrupted = False
        self._flushing: asyncio.TimerHandle | None = None
        self._flush_seconds = FLUSH_SECONDS
        self._reporting: asyncio.TimerHandle | None = None
        earlier = read_report(directory / REPORT)
        self._earlier_seconds = earlier.wall_seconds if earlier else 0.0
        num_wanted = len(partition.indices()) if partition else config.num_pairs
        # A partition may hold more pairs while failed pairs are retried.
        if partition is None and self._table.num_pairs > num_wanted:
            raise InvalidInputError(
                f"{directory} holds {self._table.num_pairs} pairs already, more than the {num_wanted} wanted: "
                "ask for at least as many, or give another output directory"
            )
        progress.begin(num_wanted, self._table.num_pairs, failures.reasons)

    async def run(self, maker: PairMaker) -> RunReport:
        """Make the missing pairs, and leave the files consistent however that ends."""
        status = RunStatus.INTERRUPTED
        self._save(RunStatus.RUNNING)
        self._report_after(REPORT_SECONDS)
        try:
            await self._make(maker)
            status = self._end()
        except SimulationStalledError as error:
            self._progress.stop(StopCause.STALLED, str(error))
            status = RunStatus.STALLED
            self._table.flush()
            last = self._table.last_index  # pairs before this row stay dropped
            self._failures.reopen([failure for failure in self._unsettled if failure.index > last])
            raise SimulationStalledError(f"{error}. {self._advice()}") from error
        finally:
            for timer in (self._flushing, self._reporting):
                if timer is not None:
                    timer.cancel()
            self._table.flush()
            report = self._save(status)
        return report

    async def _make(self, maker: PairMaker) -> None:
        """Record outcomes until no pair is missing or the session stops."""
        ended, partition = self._table.ended, self._partition
        num_missing = None if partition else self._config.num_pairs - self._table.num_pairs
        candidates = partition.indices() if partition else count()
        indices = PairIndices((index for index in candidates if index not in ended), num_missing)
        streak = FailureStreak(self._table.num_pairs, len(self._failures.indices), self._progress.is_replayed)
        async with aclosing(run_pairs(maker, indices, self._config.max_in_flight, streak)) as outcomes:
            async for outcome in outcomes:
                self._record(outcome)

    def _record(self, outcome: Outcome) -> None:
        """Record one outcome.

        A pair with unusable replies is dropped at once, as the journal repeats them. A pair that failed by an endpoint
        is dropped after the next good pair. If the session ends before that, as it does when an endpoint is down, the
        pair is tried again when the run resumes. All failures are logged immediately.
        """
        if not isinstance(outcome, FailedPair):
            self._settle()
            self._table.add(pair_index(outcome.id), outcome)
            self._progress.end_pair(pair_index(outcome.id))
        elif outcome.reason is FailureReason.INTERRUPTED:
            self._was_interrupted = True
            return
        else:
            is_dropped = not outcome.reason.is_of_endpoint
            self._failures.append([replace(outcome, dropped=is_dropped)], durable=False)
            self._unsettled.append(outcome)
            if is_dropped:
                self._table.add(outcome.index, None)
            self._progress.end_pair(outcome.index, outcome.reason)
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_later(self._flush_seconds, self._flush)

    def _end(self) -> RunStatus:
        """Return the status of the run, and settle the remaining failures of a complete run.

        Raises:
            SimulationStalledError: The run stopped because most calls failed.
        """
        if self._was_interrupted:
            if self._progress.stop_reason is StopCause.STALLED:
                raise SimulationStalledError(self._progress.stop_detail)
            return RunStatus.BUDGET if self._progress.stop_reason is StopCause.BUDGET else RunStatus.INTERRUPTED
        self._settle()
        self._failures.put_in_order()
        return RunStatus.COMPLETE

    def _settle(self) -> None:
        """Drop the pairs that failed by an endpoint since the last good pair, before the table moves past them."""
        failed = [failure for failure in self._unsettled if failure.reason.is_of_endpoint]
        self._failures.append(failed)
        for failure in failed:
            self._table.add(failure.index, None)
        self._unsettled.clear()

    def _flush(self) -> None:
        """Write the unfinished shard."""
        self._flushing, started = None, time.monotonic()
        with suppress(MusicError):  # the rows are kept, and the end of the session writes them again or raises
            self._table.flush()
        self._flush_seconds = max(FLUSH_SECONDS, FLUSH_SHARE * (time.monotonic() - started))

    def _report_after(self, seconds: float) -> None:
        """Write `run.json` after some seconds, and again and again."""

        def report() -> None:
            started = time.monotonic()
            with suppress(MusicError):  # the end of the session writes it again or raises
                self._save(RunStatus.RUNNING)
            self._report_after(max(REPORT_SECONDS, FLUSH_SHARE * (time.monotonic() - started)))

        self._reporting = asyncio.get_running_loop().call_later(seconds, report)

    def _advice(self) -> str:
        """Return advice for a stalled run: the log of failures, and the settings that may change."""
        advice = f"{self._directory / FAILURES} lists what failed"
        if all(failure.reason.is_of_endpoint for failure in self._unsettled):
            return advice  # another server or pace does not change the settings
        free = " and ".join(f"--{setting}" for setting in FREE_WITHOUT_ROWS)
        may_change = "" if self._table.num_pairs else f"no pair is there yet, so {free} may still change; "
        return f"{advice}, with the replies; {may_change}what else changes the pairs needs another --out"

    def _save(self, status: RunStatus) -> RunReport:
        """Write `run.json`; only the finished set of a whole run is diagnosed."""
        is_whole = status is RunStatus.COMPLETE and self._partition is None
        judgements = self._table.judgements + self._failures.judgements
        reasons = self._failures.reasons
        report = RunReport(
            status=status,
            detail=self._progress.stop_detail,
            num_wanted=self._progress.num_wanted,
            num_pairs=self._table.num_pairs,
            num_waiting=self._progress.num_pairs - self._table.num_pairs,
            failures=reasons,
            retries=self._table.retries + self._failures.retries,
            replies=self._progress.replies,
            judge=JudgeFigures.of(judgements) if "judge" in self._endpoints else None,
            spending=self._progress.ledger.spending(),
            wall_seconds=round(self._earlier_seconds + self._progress.seconds, 3),
            diagnostics=diagnose_pairs(read_saved_pairs(self._directory), reasons) if is_whole else None,
            endpoints=self._endpoints,
            unsupported=self._progress.unsupported,
            settings=self._settings,
            versions=versions(),
        )
        write_report(self._directory / REPORT, report)
        write_pairs_card(self._directory, report)
        return report
