"""`Rollout`: one conversation and how it came about; `Decision`: one choice between candidates."""

from dataclasses import dataclass, replace

from music.conversation import Conversation, StopReason
from music.pairs import Usage

__all__ = ["Decision", "Rollout"]

NOTHING_USED = Usage()


@dataclass(frozen=True, slots=True)
class Decision:
    """One choice between candidates.

    Attributes:
        candidates: Conversations, one per candidate, in the order in which they were asked for.
        scores: The selector's score of each.
        chosen: Index of the one that was gone on with: the best, and the first of equals, unless several were.
    """

    candidates: tuple[Conversation, ...]
    scores: tuple[float, ...]
    chosen: int

    @property
    def conversation(self) -> Conversation:
        """The candidate that was kept."""
        return self.candidates[self.chosen]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One conversation and how it came about.

    Attributes:
        index: Which of the seeds it grew from.
        conversation: As far as it got.
        decisions: The choices made, in order. A candidate that failed is missing there.
        usage: Of all calls behind it, those for candidates that were not kept included. What several rollouts of one
            seed have in common is booked with one of them, so that their usages add up.
        stop_reason: Why it ended; None while it goes on.
        error: What went wrong, after the stop reason `error`.
    """

    index: int
    conversation: Conversation
    decisions: tuple[Decision, ...] = ()
    usage: Usage = NOTHING_USED
    stop_reason: StopReason | None = None
    error: str = ""

    @property
    def is_failed(self) -> bool:
        """Whether an error ended it."""
        return self.stop_reason is StopReason.ERROR

    def failed(self, error: object) -> "Rollout":
        """Return the rollout ended by an error."""
        return replace(self, stop_reason=StopReason.ERROR, error=str(error))

    def finished(self) -> "Rollout":
        """Return the rollout, all its turns over, as such."""
        return self if self.stop_reason else replace(self, stop_reason=StopReason.TURN_LIMIT)
