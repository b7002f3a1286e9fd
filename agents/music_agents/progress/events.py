"""Snapshots of a running simulation, for the display and as JSON events."""

import re
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from music.llm.spending.records import Projection, Spending
from music_agents.progress.progress import RunProgress, StopCause

__all__ = ["EndpointFigures", "EndpointPace", "PacedEndpoint", "ProgressEvent", "ProgressWatch", "eta"]

RATE_SECONDS = 10.0
_USERINFO = re.compile(r"(https?://)[^/\s]*@", re.IGNORECASE)


class EndpointPace(Protocol):
    """The pace of an endpoint, as the display shows it."""

    @property
    def limit(self) -> float | None:
        """Requests that may be in flight; None for no limit."""

    @property
    def in_flight(self) -> int:
        """Requests in flight."""

    @property
    def num_waiting(self) -> int:
        """Requests that wait to be sent."""

    @property
    def rate(self) -> float | None:
        """Allowed requests per second; None for no limit."""

    @property
    def num_rate_limited(self) -> int:
        """429s so far."""

    @property
    def errors(self) -> Counter[str]:
        """Failed tries by kind."""

    @property
    def waits(self) -> str:
        """What requests wait for, and how long; empty if none waits."""


class PacedEndpoint(Protocol):
    """An endpoint with its own pace."""

    @property
    def name(self) -> str:
        """The endpoint as the user wrote it."""

    @property
    def pacer(self) -> EndpointPace:
        """Its pace."""


class EndpointFigures(BaseModel):
    """A snapshot of one endpoint; the fields are those of `EndpointPace`."""

    model_config = ConfigDict(frozen=True)

    name: str
    num_in_flight: int
    num_waiting: int
    limit: float | None
    rate: float | None
    num_rate_limited: int
    errors: dict[str, int]
    waits: str = ""


class ProgressEvent(BaseModel):
    """A snapshot of a run; as JSON, one event."""

    model_config = ConfigDict(frozen=True)

    event: Literal["progress", "end"]
    seconds: float
    """Since the session began."""
    num_wanted: int
    num_pairs: int
    """Good pairs of all sessions."""
    failures: dict[str, int]
    """Failed pairs of all sessions, by reason."""
    num_calls: int
    """Calls answered in this session."""
    num_in_flight: int
    calls_per_second: float
    """Over the last ten seconds."""
    errors: dict[str, int]
    """Failed calls of this session, after their retries, by reason."""
    latency_p50: float | None
    """Seconds of a call, retries included, with an error of at most 5 %."""
    latency_p95: float | None
    loop_lag_p99: float | None
    """Seconds by which the event loop was late."""
    spending: Spending
    max_cost: float | None
    """In USD."""
    max_total_tokens: int | None
    projection: Projection | None
    """None until five pairs have ended."""
    eta_seconds: float | None
    """None until five pairs have ended, and while no calls are answered."""
    endpoints: tuple[EndpointFigures, ...]
    stop_reason: StopCause | None
    stop_detail: str


class ProgressWatch:
    """Samples the progress of a run and takes snapshots of it.

    Args:
        progress: Of the run.
        endpoints: The endpoints to show.
    """

    def __init__(self, progress: RunProgress, endpoints: Sequence[PacedEndpoint] = ()) -> None:
        self._progress = progress
        self._endpoints = endpoints
        self._samples: deque[tuple[float, int]] = deque([(time.monotonic(), progress.num_calls)])

    def sample(self, lag: float) -> None:
        """Sample the number of calls, and record by how many seconds the event loop was late."""
        now = time.monotonic()
        self._progress.loop_lag.add(lag)
        self._samples.append((now, self._progress.num_calls))
        while self._samples[0][0] < now - RATE_SECONDS:
            self._samples.popleft()

    def snapshot(self, event: Literal["progress", "end"] = "progress") -> ProgressEvent:
        """Return a snapshot of the run."""
        progress, ledger = self._progress, self._progress.ledger
        since, num_calls = self._samples[0]
        pace = (progress.num_calls - num_calls) / max(time.monotonic() - since, 1e-3)
        projection = progress.projection
        return ProgressEvent(
            event=event,
            seconds=round(progress.seconds, 3),
            num_wanted=progress.num_wanted,
            num_pairs=progress.num_pairs,
            failures=progress.failures,
            num_calls=progress.num_calls,
            num_in_flight=progress.num_in_flight,
            calls_per_second=round(pace, 3),
            errors=progress.errors,
            latency_p50=progress.latency.quantile(0.5),
            latency_p95=progress.latency.quantile(0.95),
            loop_lag_p99=progress.loop_lag.quantile(0.99),
            spending=ledger.spending(),
            max_cost=ledger.budget.max_cost,
            max_total_tokens=ledger.budget.max_total_tokens,
            projection=projection,
            eta_seconds=eta(projection, ledger.total.num_calls, pace),
            endpoints=tuple(_figures(endpoint) for endpoint in self._endpoints),
            stop_reason=progress.stop_reason,
            stop_detail=_printable(progress.stop_detail),
        )


def eta(projection: Projection | None, num_calls: int, pace: float) -> float | None:
    """Return the estimated seconds until the run ends; None if there is no projection or no pace."""
    if projection is None or not pace:
        return None
    return round(max(0, projection.num_calls - num_calls) / pace, 1)


def _figures(endpoint: PacedEndpoint) -> EndpointFigures:
    pacer = endpoint.pacer
    return EndpointFigures(
        name=_printable(endpoint.name),
        num_in_flight=pacer.in_flight,
        num_waiting=pacer.num_waiting,
        limit=pacer.limit,
        rate=pacer.rate,
        num_rate_limited=pacer.num_rate_limited,
        errors=pacer.errors,
        waits=pacer.waits,
    )


def _printable(text: str) -> str:
    """Return a text without control characters, and without the credentials that a URL may hold."""
    return "".join(char if char.isprintable() else " " for char in _USERINFO.sub(r"\1...@", text))
