"""`Rollout`: one conversation and how it was chosen; `Decision`: one choice between candidates. Both as JSON lines."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from music.conversation import Conversation, Message, StopReason
from music.pairs import Usage

__all__ = ["Decision", "Rollout", "rollout_row", "write_rollouts"]


@dataclass(frozen=True, slots=True)
class Decision:
    """One choice between candidates.

    Attributes:
        candidates: Conversations, one per candidate, in the order in which they were requested.
        scores: The selector's score of each.
        chosen: Index of the one that was kept: the best, and the first of equals, unless several were kept.
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
    """One conversation and how it was chosen.

    Attributes:
        index: Which of the seeds it grew from.
        conversation: As far as it got.
        decisions: The choices made, in order. A candidate that failed is missing from its decision.
        usage: Of all calls behind it, including those for candidates that were not kept. What several rollouts of one
            seed share is counted in one of them, so that their usages add up.
        stop_reason: Why it ended; None while it continues.
        error: What went wrong, after the stop reason `error`.
    """

    index: int
    conversation: Conversation
    decisions: tuple[Decision, ...] = ()
    usage: Usage = field(default_factory=Usage)
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
        """Return the rollout ended by its turn limit, unless it has ended already."""
        return self if self.stop_reason else replace(self, stop_reason=StopReason.TURN_LIMIT)


def rollout_row(rollout: Rollout, grade: float | None = None) -> dict[str, Any]:
    """Return a rollout as a JSON-able row.

    The messages that all candidates of a decision share are counted in `num_messages` and left out of `candidates`.
    """
    return {
        "index": rollout.index,
        "messages": rollout.conversation.to_messages(),
        "stop_reason": rollout.stop_reason,
        "error": rollout.error,
        "grade": grade,
        "usage": asdict(rollout.usage),
        "decisions": [_decision_row(decision) for decision in rollout.decisions],
    }


def write_rollouts(path: Path, rollouts: Sequence[Rollout], grades: Sequence[float | None]) -> None:
    """Write one rollout per line, each with its grade."""
    rows = (rollout_row(rollout, grade) for rollout, grade in zip(rollouts, grades, strict=True))
    path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))


def _decision_row(decision: Decision) -> dict[str, Any]:
    num_shared = _num_shared([candidate.messages for candidate in decision.candidates])
    return {
        "num_messages": num_shared,
        "candidates": [candidate.to_messages()[num_shared:] for candidate in decision.candidates],
        "scores": decision.scores,
        "chosen": decision.chosen,
    }


def _num_shared(candidates: Sequence[Sequence[Message]]) -> int:
    """Return how many first messages all candidates share; the last one is always a candidate's own."""
    first, limit = candidates[0], min(map(len, candidates)) - 1
    differing = (i for i in range(limit) if any(candidate[i] != first[i] for candidate in candidates))
    return next(differing, limit)
