"""`ProgressAggregate`: the progress of all workers as one run, and whether they stop."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from music.llm.spending.budget import Budget
from music.llm.spending.records import AccountSpending, Projection, Spending
from music_agents.progress import RunProgress, StopCause
from music_agents.progress.events import EndpointFigures, ProgressEvent, eta
from music_agents.run import RunReport

__all__ = ["ProgressAggregate", "sum_spending"]


class ProgressAggregate:
    """Combines the progress of partitions: sums of counts, and the maximum of latencies and lags.

    Args:
        progress: Of the whole run; its `stop()` ends the workers cleanly.
        budget: Of the whole run.
    """

    def __init__(self, progress: RunProgress, budget: Budget) -> None:
        self.progress = progress
        self._budget = budget
        self._resting: dict[int, tuple[int, Counter[str], Spending]] = {}
        self._live: dict[int, ProgressEvent] = {}
        self._num_calls = 0
        self._errors: Counter[str] = Counter()

    @property
    def stopping(self) -> bool:
        """Whether the workers must stop."""
        return self.progress.stopping

    def post(self, number: int, snapshot: ProgressEvent) -> bool:
        """Record the snapshot of one partition; return whether its worker must stop."""
        self._live[number] = snapshot
        return self.stopping

    def give_up(self, number: int, detail: str) -> None:
        """Stop all other workers cleanly, as one failed."""
        self.progress.stop(StopCause.WORKER, f"share {number}: {detail}")

    def rest(self, number: int, report: RunReport | None, spending: Spending) -> None:
        """Record the report and the spending of a partition that no worker has."""
        if (last := self._live.pop(number, None)) is not None:
            self._num_calls += last.num_calls
            self._errors.update(last.errors)
        num_pairs, failures = (report.num_pairs, report.failures) if report else (0, {})
        self._resting[number] = num_pairs, Counter(failures), spending

    def spending_of(self, number: int) -> Spending:
        """Return the spending of a partition."""
        return self._live[number].spending if number in self._live else self._resting[number][2]

    def spending(self) -> Spending:
        """Return the spending of the run."""
        return sum_spending(self.spending_of(number) for number in self._resting)

    def sample(self, lag: float) -> None:
        """Record by how many seconds the coordinator's event loop was late."""
        self.progress.loop_lag.add(lag)

    def snapshot(self, event: Literal["progress", "end"] = "progress") -> ProgressEvent:
        """Return a snapshot of the run."""
        live, progress = list(self._live.values()), self.progress
        at_rest = [figures for number, figures in self._resting.items() if number not in self._live]
        num_pairs = sum(s.num_pairs for s in live) + sum(num for num, _, _ in at_rest)
        spending, pace = self.spending(), sum(s.calls_per_second for s in live)
        projection = self._project(num_pairs, live, [spent for _, _, spent in at_rest])
        return ProgressEvent(
            event=event,
            seconds=round(progress.seconds, 3),
            num_wanted=progress.num_wanted,
            num_pairs=min(num_pairs, progress.num_wanted),
            failures=_sum([*(s.failures for s in live), *(failures for _, failures, _ in at_rest)]),
            num_calls=self._num_calls + sum(s.num_calls for s in live),
            num_in_flight=sum(s.num_in_flight for s in live),
            calls_per_second=round(pace, 3),
            errors=_sum([self._errors, *(s.errors for s in live)]),
            latency_p50=_longest(s.latency_p50 for s in live),
            latency_p95=_longest(s.latency_p95 for s in live),
            loop_lag_p99=_longest(s.loop_lag_p99 for s in live),
            spending=spending,
            max_cost=self._budget.max_cost,
            max_total_tokens=self._budget.max_total_tokens,
            projection=projection,
            eta_seconds=eta(projection, spending.num_calls, pace),
            endpoints=_sum_endpoints(figures for s in live for figures in s.endpoints),
            stop_reason=progress.stop_reason,
            stop_detail=progress.stop_detail,
        )

    def _project(self, num_pairs: int, live: Sequence[ProgressEvent], at_rest: Sequence[Spending]) -> Projection | None:
        """Project the whole run from the partitions' own projections, scaled back to the pairs that ended."""
        if not num_pairs or any(s.projection is None for s in live):
            return None
        ended: list[tuple[float, float, float | None]] = [(s.num_calls, s.num_tokens, s.cost) for s in at_rest]
        for s in live:
            assert s.projection is not None
            share, whole = s.num_pairs / s.num_wanted, s.projection
            ended.append(
                (whole.num_calls * share, whole.num_tokens * share, None if whole.cost is None else whole.cost * share)
            )
        factor = self.progress.num_wanted / num_pairs
        num_calls, num_tokens, cost = (_total(column) for column in zip(*ended, strict=True))
        return Projection(
            num_calls=round((num_calls or 0) * factor),
            num_tokens=round((num_tokens or 0) * factor),
            cost=None if cost is None else cost * factor,
        )


def sum_spending(parts: Iterable[Spending]) -> Spending:
    """Return the total spending of partitions, by account and model."""
    spent = list(parts)
    counts = AccountSpending.model_fields.keys() - {"account", "model", "cost"}
    rows: dict[tuple[str, str], list[AccountSpending]] = {}
    for row in (row for part in spent for row in part.accounts):
        rows.setdefault((row.account, row.model), []).append(row)
    return Spending(
        num_calls=sum(part.num_calls for part in spent),
        num_tokens=sum(part.num_tokens for part in spent),
        cost=_total(part.cost for part in spent),
        accounts=tuple(
            same[0].model_copy(
                update={name: sum(getattr(row, name) for row in same) for name in counts}
                | {"cost": _total(row.cost for row in same)}
            )
            for same in rows.values()
        ),
    )


def _sum_endpoints(all_figures: Iterable[EndpointFigures]) -> tuple[EndpointFigures, ...]:
    """Return the figures of each endpoint, summed over all workers; limits and rates are sums, too."""
    by_name: dict[str, list[EndpointFigures]] = {}
    for figures in all_figures:
        by_name.setdefault(figures.name, []).append(figures)
    return tuple(
        EndpointFigures(
            name=name,
            num_in_flight=sum(figures.num_in_flight for figures in same),
            num_waiting=sum(figures.num_waiting for figures in same),
            limit=_total(figures.limit for figures in same),
            rate=_total(figures.rate for figures in same),
            num_rate_limited=sum(figures.num_rate_limited for figures in same),
            errors=_sum([figures.errors for figures in same]),
            waits=max(same, key=lambda figures: figures.num_waiting).waits,
        )
        for name, same in by_name.items()
    )


def _total(values: Iterable[float | None]) -> float | None:
    """Return the sum, or None if one of the values is None."""
    known = list(values)
    return None if None in known else round(sum(value for value in known if value is not None), 9)


def _longest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _sum(counts: "Sequence[Counter[str] | dict[str, int]]") -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total)
