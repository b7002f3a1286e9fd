"""The oracle: grades every assistant reply of a sandbox conversation by its text."""

from collections.abc import Sequence
from dataclasses import dataclass

from music.conversation import Conversation

__all__ = ["TurnGrade", "grade", "score"]


@dataclass(frozen=True, slots=True)
class TurnGrade:
    """The grade of one assistant turn: a score in [0, 1] and the kinds of errors found."""

    turn: int
    score: float
    errors: tuple[str, ...]


def grade(conversation: Conversation) -> tuple[TurnGrade, ...]:
    """Grade every assistant turn."""
    return tuple(TurnGrade(i, 1.0, ()) for i in range(conversation.num_turns))


def score(conversations: Sequence[Conversation]) -> list[float]:
    """Score conversations: the mean over their graded turns, in [0, 1]."""
    return [sum(g.score for g in gs) / max(1, len(gs)) for gs in map(grade, conversations)]
