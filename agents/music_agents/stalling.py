"""When going on is a waste: a `Streak` of failures that is too long ends a run by `SimulationStalledError`.

A dead endpoint shows soon. Replies that are of no use prove less: a weak model may yield one pair in sixty, which is
slow and not stalled. So useless replies stop a run only where none has come out well for long, measured by how often
that happens in this run.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Self

from music.errors import MusicError
from music_agents.failures import FailedPair, FailureReason
from music_agents.simulator import Outcome

__all__ = ["MAX_UNANSWERED", "MAX_USELESS", "SimulationStalledError", "Streak"]

MAX_UNANSWERED = 20
"""Pairs in a row that an endpoint may fail."""
MAX_USELESS = 100
"""Pairs in a row that may fail for any reason, before the first good pair."""
PATIENCE = 10
"""Later, as many times the failures that one good pair has taken so far, if those are more."""

_UNPARSED = (
    "the contrast's model does not keep to the format that it is asked for: give --contrast a larger model, or choose "
    "contrasts that need no format, as --strategy forget,stale"
)
_LARGER_USER = "give --user a larger model, or turn the gates off: --no-gates"
_REMEDIES = {
    FailureReason.REPLY_UNPARSED: _UNPARSED,
    FailureReason.REPLY_CUT: "replies are longer than they may be: raise --max-reply-tokens, or the server's own limit",
    FailureReason.REPLY_EMPTY: "the model answers nothing: look at its chat template and its stop tokens",
    FailureReason.REPLY_THOUGHT: "the model only thinks: raise --max-reply-tokens, or turn thinking off",
    FailureReason.REPLY_TOOL_CALL: "the model calls tools: serve it without them",
    FailureReason.REPLY_FILTERED: "the endpoint filters the replies: choose other seeds, or another endpoint",
    FailureReason.IDENTICAL_SIDES: "the contrast changes nothing: choose another --strategy",
    FailureReason.NOT_CONTRASTED: "the contrast finds nothing to change: choose another --strategy",
    FailureReason.USER_STOPPED: f"the user ends the conversation early: ask for fewer --turns, or {_LARGER_USER}",
    FailureReason.USER_ROLE_FLIP: f"the user speaks as the assistant: {_LARGER_USER}",
    FailureReason.USER_REPEATS: f"the user repeats: {_LARGER_USER}",
    FailureReason.USER_LEAKS: f"the user gives its instructions away: {_LARGER_USER}",
    FailureReason.JUDGE_DISAGREES: "the judge finds no chosen side better: choose another --strategy or --judge",
}


class SimulationStalledError(MusicError):
    """Next to nothing but failures came for a while, so the simulation gave up."""

    @classmethod
    def after(cls, failures: Sequence[FailedPair], num_failed: int) -> Self:
        """Return the error for failures in a row: the latest of them, and how many there are in all."""
        reason, times = Counter(failure.reason for failure in failures).most_common(1)[0]
        detail = next(failure.detail for failure in reversed(failures) if failure.reason is reason)
        among = "them" if num_failed == len(failures) else f"the latest {len(failures)}"
        remedy = _REMEDIES.get(reason, "fix the cause")
        return cls(
            f"the last {num_failed} pairs all failed, {times} of {among} by {reason} ({detail}). "
            f"{remedy[0].upper()}{remedy[1:]}; then run again"
        )


class Streak:
    """The failures since the last good pair.

    Args:
        num_pairs: Pairs that came out well before.
        num_failed: Pairs that failed before.
        is_replayed: Whether the pair with an index was made of an earlier session's replies alone; its failure says
            nothing about how things are now.
    """

    def __init__(
        self, num_pairs: int = 0, num_failed: int = 0, is_replayed: Callable[[int], bool] = lambda _: False
    ) -> None:
        self._num_pairs = num_pairs
        self._num_failed = num_failed
        self._is_replayed = is_replayed
        self._length = 0
        self._latest: deque[FailedPair] = deque(maxlen=MAX_USELESS)

    def add(self, outcome: Outcome) -> None:
        """Take the outcome of a pair."""
        if not isinstance(outcome, FailedPair):
            self._num_pairs += 1
            self._num_failed += self._length
            self._length = 0
            self._latest.clear()
        elif outcome.reason is not FailureReason.INTERRUPTED and not self._is_replayed(outcome.index):
            self._length += 1
            self._latest.append(outcome)

    def check(self) -> None:
        """Find out whether it is too long.

        Raises:
            SimulationStalledError: It is.
        """
        unanswered = list(self._latest)[-MAX_UNANSWERED:]
        if len(unanswered) == MAX_UNANSWERED and all(failure.reason.is_of_endpoint for failure in unanswered):
            raise SimulationStalledError.after(unanswered, MAX_UNANSWERED)
        if self._length >= self._bound:
            raise SimulationStalledError.after(self._latest, self._length)

    @property
    def _bound(self) -> int:
        """Failures in a row that are too many."""
        return max(MAX_USELESS, PATIENCE * self._num_failed // self._num_pairs if self._num_pairs else 0)
