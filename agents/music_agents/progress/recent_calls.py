"""How the latest calls of a run went: where most of them fail, going on is a waste."""

from collections import Counter, deque

from music.llm.chat import EndpointError

__all__ = ["RecentCalls"]

MAX_CALLS = 100
MIN_CALLS = 20


class RecentCalls:
    """The outcomes of the last 100 calls, each after its retries.

    A reply is a success here, whatever its content: that is its role's concern.
    """

    def __init__(self) -> None:
        # Texts, not errors: those would keep their tracebacks, and with them whole conversations.
        self._outcomes: deque[tuple[str, str] | None] = deque(maxlen=MAX_CALLS)
        self._num_failed = 0

    def add(self, error: EndpointError | None) -> None:
        """Take the outcome of a call: its error, or None for a reply."""
        outcomes = self._outcomes
        if len(outcomes) == MAX_CALLS and outcomes[0] is not None:
            self._num_failed -= 1
        if error is None:
            outcomes.append(None)
            return
        outcomes.append((type(error).__name__, str(error)))
        self._num_failed += 1

    def complaint(self) -> str:
        """Say what is wrong if more than half of at least 20 calls failed; nothing otherwise."""
        if len(self._outcomes) < MIN_CALLS or 2 * self._num_failed <= len(self._outcomes):
            return ""
        failed = [outcome for outcome in self._outcomes if outcome is not None]
        kind, times = Counter(kind for kind, _ in failed).most_common(1)[0]
        text = next(text for other, text in reversed(failed) if other == kind)
        return (
            f"{len(failed)} of the last {len(self._outcomes)} calls failed, {times} of them by {kind} ({text}): "
            "fix the cause and run again"
        )
