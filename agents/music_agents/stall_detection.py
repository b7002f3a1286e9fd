"""When a failing run stops: after a `FailureStreak` that is too long, or when most `RecentCalls` failed.

A dead endpoint is detected after a few pairs. Unusable replies prove less: a weak model may complete one pair in sixty,
which is slow but not stalled. Unusable replies stop a run only after many failures in a row, compared with the
failures that each good pair of this run took so far.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Self

from music.errors import MusicError
from music.llm.chat import EndpointError
from music.pairs import ContrastivePair
from music_agents.failures import FailedPair, FailureReason, advise, failure_reason

__all__ = ["MAX_UNANSWERED", "MAX_USELESS", "FailureStreak", "RecentCalls", "SimulationStalledError"]

MAX_UNANSWERED = 20
"""Pairs in a row that an endpoint may fail."""
MAX_USELESS = 100
"""Pairs in a row that may fail for any reason, before the first good pair."""
PATIENCE = 10
"""After the first good pair: this multiple of the failures per good pair so far, if that is more."""


class SimulationStalledError(MusicError):
    """Nearly all recent pairs or calls failed, so the simulation gave up."""

    @classmethod
    def after(cls, failures: Sequence[FailedPair], num_failed: int) -> Self:
        """Return the error for failures in a row: the latest of them, and how many there are in all."""
        reason, times = Counter(failure.reason for failure in failures).most_common(1)[0]
        detail = next(failure.detail for failure in reversed(failures) if failure.reason is reason)
        among = "them" if num_failed == len(failures) else f"the latest {len(failures)}"
        return cls(
            f"the last {num_failed} pairs all failed, {times} of {among} by {reason} ({detail}). {advise(reason)}"
        )


class FailureStreak:
    """The failures since the last good pair.

    Args:
        num_pairs: Good pairs of earlier sessions.
        num_failed: Failed pairs of earlier sessions.
        is_replayed: Whether the pair with an index was made from replies of earlier sessions alone. Its failure does
            not count, as it shows nothing about the endpoints now.
    """

    def __init__(
        self, num_pairs: int = 0, num_failed: int = 0, is_replayed: Callable[[int], bool] = lambda _: False
    ) -> None:
        self._num_pairs = num_pairs
        self._num_failed = num_failed
        self._is_replayed = is_replayed
        self._length = 0
        self._latest: deque[FailedPair] = deque(maxlen=MAX_USELESS)

    def add(self, outcome: ContrastivePair | FailedPair) -> None:
        """Count the outcome of a pair."""
        if not isinstance(outcome, FailedPair):
            self._num_pairs += 1
            self._num_failed += self._length
            self._length = 0
            self._latest.clear()
        elif outcome.reason is not FailureReason.INTERRUPTED and not self._is_replayed(outcome.index):
            self._length += 1
            self._latest.append(outcome)

    def check(self) -> None:
        """Check that it is not too long.

        Raises:
            SimulationStalledError: It is too long.
        """
        unanswered = list(self._latest)[-MAX_UNANSWERED:]
        if len(unanswered) == MAX_UNANSWERED and all(failure.reason.is_of_endpoint for failure in unanswered):
            raise SimulationStalledError.after(unanswered, MAX_UNANSWERED)
        bound = PATIENCE * self._num_failed // self._num_pairs if self._num_pairs else 0
        if self._length >= max(MAX_USELESS, bound):
            raise SimulationStalledError.after(self._latest, self._length)


MAX_CALLS = 100
MIN_CALLS = 20


class RecentCalls:
    """The outcomes of the last 100 calls, each after its retries.

    Any reply counts as a success; its role checks the content.
    """

    def __init__(self) -> None:
        # Texts, not errors: those would keep their tracebacks, and with them whole conversations.
        self._outcomes: deque[tuple[FailureReason, str] | None] = deque(maxlen=MAX_CALLS)
        self._num_failed = 0

    def add(self, error: EndpointError | None) -> None:
        """Count the outcome of a call: its error, or None for a reply."""
        outcomes = self._outcomes
        if len(outcomes) == MAX_CALLS and outcomes[0] is not None:
            self._num_failed -= 1
        if error is None:
            outcomes.append(None)
            return
        outcomes.append((failure_reason(error), str(error)))
        self._num_failed += 1

    def complaint(self) -> str:
        """Return a message if more than half of at least 20 calls failed, and the empty string otherwise."""
        if len(self._outcomes) < MIN_CALLS or 2 * self._num_failed <= len(self._outcomes):
            return ""
        failed = [outcome for outcome in self._outcomes if outcome is not None]
        reason, times = Counter(reason for reason, _ in failed).most_common(1)[0]
        text = next(text for other, text in reversed(failed) if other is reason)
        return (
            f"{len(failed)} of the last {len(self._outcomes)} calls failed, {times} of them by {reason} ({text}). "
            f"{advise(reason)}"
        )
