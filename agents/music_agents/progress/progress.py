"""The progress of a run: its counts so far, and whether and why it stops."""

import asyncio
import math
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from music.interrupts import on_signals
from music.llm.chat import ChatReply, ChatRequest, EndpointError
from music.llm.spending.ledger import Account, Ledger, SpendingStore
from music.llm.spending.records import Projection
from music_agents.failures import FailureReason, RoleFailedError, failure_reason
from music_agents.stall_detection import RecentCalls

__all__ = ["Distribution", "RunProgress", "StopCause", "stop_on_signals"]


BUCKETS_PER_E = 20
SMALLEST = 1e-6


class Distribution:
    """Quantiles of a stream of positive values, with an error of at most 5 %."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, value: float) -> None:
        """Count a value; smaller values than 1e-6 count as 1e-6."""
        self._counts[int(math.log(max(value, SMALLEST)) * BUCKETS_PER_E // 1)] += 1

    def quantile(self, share: float) -> float | None:
        """Return the quantile for a share of the values; None if there are no values."""
        wanted = share * self._counts.total()
        for bucket, num in sorted(self._counts.items()):
            wanted -= num
            if wanted <= 0:
                return math.exp((bucket + 1) / BUCKETS_PER_E)
        return None


class StopCause(StrEnum):
    """Why a run sends no more calls."""

    USER = "user"
    """The user stopped it."""
    BUDGET = "budget"
    """The budget is spent, or cannot be enforced."""
    STALLED = "stalled"
    """Most recent calls or all recent pairs failed."""
    WORKER = "worker"
    """A worker of a partitioned run died or gave up."""


@dataclass(slots=True)
class RunProgress:
    """Live counts of one session.

    Attributes:
        ledger: The spending and the budget.
        num_wanted: Pairs wanted.
        num_pairs: Good pairs of all sessions.
        num_earlier: Good pairs of earlier sessions.
        failures: Failed pairs of all sessions, by reason.
        num_in_flight: Calls in flight.
        num_calls: Calls answered in this session, without replayed ones.
        replies: By role, the replies of all sessions that held thinking, or from which text was removed, by kind
            (`ChatReply.cleaned`).
        errors: Calls that failed in this session after their retries, by reason.
        recent: Outcomes of the latest calls.
        latency: Seconds of the calls of this session.
        loop_lag: Seconds by which the event loop was late, sampled by the display.
        started: When the session began, by `time.monotonic`.
        models: The models that `stop` reaches (`asking`).
        stop_reason: Why no more calls are sent; None while they are.
        stop_detail: A description of the reason.
    """

    ledger: Ledger = field(default_factory=Ledger)
    num_wanted: int = 0
    num_pairs: int = 0
    num_earlier: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    num_in_flight: int = 0
    num_calls: int = 0
    replies: dict[str, Counter[str]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    recent: RecentCalls = field(default_factory=RecentCalls)
    latency: Distribution = field(default_factory=Distribution)
    loop_lag: Distribution = field(default_factory=Distribution)
    started: float = field(default_factory=time.monotonic)
    models: list[Any] = field(default_factory=list)
    stop_reason: StopCause | None = None
    stop_detail: str = ""
    _asked: dict[str, bool] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Seconds since the session began."""
        return time.monotonic() - self.started

    @property
    def num_failed(self) -> int:
        """Failed pairs of all sessions."""
        return self.failures.total()

    @property
    def stopping(self) -> bool:
        """Whether no more calls are sent."""
        return self.stop_reason is not None

    @property
    def projection(self) -> Projection | None:
        """The projected cost of the whole run; None while too few pairs have ended."""
        return self.ledger.project(self.num_wanted, self.num_pairs, self.num_failed)

    def begin(self, num_wanted: int, num_pairs: int = 0, failures: Mapping[str, int] | None = None) -> None:
        """Start the session's clock, with the pairs and the failures of earlier sessions."""
        self.started = time.monotonic()
        self.num_wanted = num_wanted
        self.num_pairs = self.num_earlier = num_pairs
        self.failures.update(failures or {})

    def open_account(self, name: str, endpoint: str, store: SpendingStore | None = None) -> Account:
        """Open a role's account, as `Ledger.open` does; stop the run if earlier sessions spent the budget."""
        account = self.ledger.open(name, endpoint, store)
        self.keep_budget()
        return account

    def end_pair(self, index: int, failure: FailureReason | None = None) -> None:
        """Count a pair after its last call, as good or as failed for a reason."""
        self.ledger.end_pair(index)
        self._asked.pop(str(index), None)
        if failure is None:
            self.num_pairs += 1
        else:
            self.failures[failure] += 1

    def note_replay(self, request: ChatRequest) -> None:
        """Record that a request of a pair was answered from the journal or the cache."""
        self._asked.setdefault(request.route, False)

    def is_replayed(self, index: int) -> bool:
        """Whether no request of an unfinished pair was sent: all were answered from the journal or the cache."""
        return self._asked.get(str(index)) is False

    def admit(self, pair: str = "") -> None:
        """Permit a call of a pair.

        Raises:
            RoleFailedError: The run was stopped.
        """
        if self.stop_reason is not None:
            raise RoleFailedError(f"the run was stopped ({self.stop_detail})", FailureReason.INTERRUPTED)
        self._asked[pair] = True

    def call_answered(self, seconds: float, role: str, reply: ChatReply) -> None:
        """Count a call of a role that was answered and charged, and what was removed from its reply."""
        if reply.thinking or reply.cleaned:
            kinds = [*reply.cleaned, "thinking"] if reply.thinking else reply.cleaned
            self.replies.setdefault(role, Counter()).update(kinds)
        self.num_calls += 1
        self.latency.add(seconds)
        self.recent.add(None)
        self.keep_budget()

    def call_failed(self, error: EndpointError) -> None:
        """Count a call that failed after its retries; stop the run if most recent calls failed."""
        self.errors[failure_reason(error)] += 1
        self.recent.add(error)
        if complaint := self.recent.complaint():
            self.stop(StopCause.STALLED, complaint)

    def stop(self, reason: StopCause = StopCause.USER, detail: str = "as asked") -> None:
        """Stop the run: calls in flight are finished and journaled, and no more are sent. The first reason is kept.

        Calls that wait to be sent or retried give up at once.
        """
        if self.stop_reason is None:
            self.stop_reason, self.stop_detail = reason, detail
        for model in self.models:
            model.stop_waiting()

    @property
    def unsupported(self) -> dict[str, tuple[str, ...]]:
        """Request fields that endpoints refused and that are left out, by endpoint."""
        endpoints = [endpoint for model in self.models for endpoint in getattr(model, "endpoints", ())]
        return {
            endpoint.name: endpoint.field_support.unsupported
            for endpoint in endpoints
            if endpoint.field_support.unsupported
        }

    @contextmanager
    def asking(self, models: Iterable[Any]) -> Iterator[None]:
        """Let `stop` end the waiting of these models' calls during the block."""
        self.models = list({id(model): model for model in models if hasattr(model, "stop_waiting")}.values())
        if self.stopping:
            self.stop()
        try:
            yield
        finally:
            for model in self.models:
                model.resume_waiting()

    def keep_budget(self) -> None:
        """Stop the run if its budget is spent."""
        if detail := self.ledger.exhausted():
            self.stop(StopCause.BUDGET, detail)


@contextmanager
def stop_on_signals(progress: RunProgress) -> Iterator[None]:
    """Stop the run cleanly on Ctrl-C (or SIGTERM) during the block; a second signal cancels it."""
    task = asyncio.current_task()
    assert task is not None
    # Not `progress.stopping`: the first Ctrl-C must not cancel a run that stops by itself.
    num_signals = 0

    def handle() -> None:
        nonlocal num_signals
        num_signals += 1
        if num_signals > 1:
            task.cancel()
        progress.stop()

    with on_signals(handle, signal.SIGINT, signal.SIGTERM):
        yield
