"""`Rollout`: one conversation and how it was chosen; `Decision`: one choice among candidates."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from music.conversation import Conversation, StopReason
from music.pairs import Usage
from music_agents.roles import RoleTurn

__all__ = ["Decision", "Rollout", "rollout_row", "write_rollouts"]


@dataclass(frozen=True, slots=True)
class Decision:
    """One choice among candidates.

    Attributes:
        candidates: Conversations, one per candidate, in the order in which they were requested.
        scores: The selector's score of each candidate.
        chosen: Index of the candidate that was kept: the best (the first of equal ones), unless several were kept.
    """

    candidates: tuple[Conversation, ...]
    scores: tuple[float, ...]
    chosen: int

    @property
    def conversation(self) -> Conversation:
        """The candidate that was kept."""
        return self.candidates[self.chosen]

    @property
    def num_identical(self) -> int:
        """Number of candidates that repeat an earlier one."""
        return len(self.candidates) - len({*self.candidates})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One conversation and how it was chosen.

    Attributes:
        index: Which of the seeds it grew from.
        conversation: All messages so far.
        decisions: The choices so far, in order. They leave out candidates that failed.
        usage: Of all its calls, including those for candidates that were not kept. Calls that several rollouts of one
            seed share are counted in one of them, so usages add up.
        num_cut: Replies of either player that were cut at the limit of tokens, counted as `usage` counts calls.
        stop_reason: Why it ended; None while it continues.
        error: What went wrong, after the stop reason `error`.
    """

    index: int
    conversation: Conversation
    decisions: tuple[Decision, ...] = ()
    usage: Usage = field(default_factory=Usage)
    num_cut: int = 0
    stop_reason: StopReason | None = None
    error: str = ""

    @property
    def is_failed(self) -> bool:
        """Whether an error ended it."""
        return self.stop_reason is StopReason.ERROR

    def failed(self, error: object) -> "Rollout":
        """Return the rollout ended by an error; the calls of a player that failed count."""
        usage = self.usage + getattr(error, "spent", Usage())
        return replace(self, stop_reason=StopReason.ERROR, error=str(error), usage=usage)

    def spoken(self, conversation: Conversation, turn: RoleTurn) -> "Rollout":
        """Return the rollout continued by a message."""
        num_cut = self.num_cut + turn.is_cut
        return replace(self, conversation=conversation, usage=self.usage + turn.usage, num_cut=num_cut)

    def finished(self) -> "Rollout":
        """Return the rollout ended by its turn limit, unless it has ended already."""
        return self if self.stop_reason else replace(self, stop_reason=StopReason.TURN_LIMIT)


def rollout_row(rollout: Rollout, grade: float | None = None) -> dict[str, Any]:
    """Return a rollout as a JSON-able row.

    A decision's `candidates` leave out the messages that all of them share; `num_messages` is the number of those.
    """
    return {
        "index": rollout.index,
        "messages": rollout.conversation.to_messages(),
        "stop_reason": rollout.stop_reason,
        "error": rollout.error,
        "grade": grade,
        "usage": asdict(rollout.usage),
        "num_cut": rollout.num_cut,
        "decisions": [_decision_row(decision) for decision in rollout.decisions],
    }


def write_rollouts(path: Path, rollouts: Sequence[Rollout], grades: Sequence[float | None]) -> None:
    """Write one rollout per line, each with its grade."""
    rows = (rollout_row(rollout, grade) for rollout, grade in zip(rollouts, grades, strict=True))
    path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))


def _decision_row(decision: Decision) -> dict[str, Any]:
    candidates = [candidate.messages for candidate in decision.candidates]
    first, limit = candidates[0], min(map(len, candidates)) - 1  # the last message is always a candidate's own
    num_shared = next((i for i in range(limit) if any(other[i] != first[i] for other in candidates)), limit)
    return {
        "num_messages": num_shared,
        "candidates": [candidate.to_messages()[num_shared:] for candidate in decision.candidates],
        "scores": decision.scores,
        "chosen": decision.chosen,
    }
