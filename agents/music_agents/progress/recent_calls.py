"""How the latest calls of a run went: where most of them fail, going on is a waste."""

from collections import Counter, deque

from music.llm.chat import EndpointError
from music_agents.failures import FailureReason, failure_reason
from music_agents.remedies import advise

__all__ = ["RecentCalls"]

MAX_CALLS = 100
MIN_CALLS = 20


class RecentCalls:
    """The outcomes of the last 100 calls, each after its retries.

    A reply is a success here, whatever its content: that is its role's concern.
    """

    def __init__(self) -> None:
        # Texts, not errors: those would keep their tracebacks, and with them whole conversations.
        self._outcomes: deque[tuple[FailureReason, str] | None] = deque(maxlen=MAX_CALLS)
        self._num_failed = 0

    def add(self, error: EndpointError | None) -> None:
        """Take the outcome of a call: its error, or None for a reply."""
        outcomes = self._outcomes
        if len(outcomes) == MAX_CALLS and outcomes[0] is not None:
            self._num_failed -= 1
        if error is None:
            outcomes.append(None)
            return
        outcomes.append((failure_reason(error), str(error)))
        self._num_failed += 1

    def complaint(self) -> str:
        """Say what is wrong if more than half of at least 20 calls failed; nothing otherwise."""
        if len(self._outcomes) < MIN_CALLS or 2 * self._num_failed <= len(self._outcomes):
            return ""
        failed = [outcome for outcome in self._outcomes if outcome is not None]
        reason, times = Counter(reason for reason, _ in failed).most_common(1)[0]
        text = next(text for other, text in reversed(failed) if other is reason)
        return (
            f"{len(failed)} of the last {len(self._outcomes)} calls failed, {times} of them by {reason} ({text}). "
            f"{advise(reason)}"
        )
