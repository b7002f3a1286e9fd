"""Outcomes of a conversation: the oracle's grades of its turns, summarised in four ways.

A request and its corrections are one exchange. Its last reply counts for the goal: an error that was pointed out and
corrected does no harm there, while the mean and the worst turn still have it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from music.conversation import Conversation
from music.sandbox.world.oracle import ErrorKind, TurnGrade, grade_turns
from music.sandbox.world.state import Expectation, expectations
from music.sandbox.world.vocabulary import MemoryAsk

__all__ = ["Outcome", "oracle_outcomes"]

UNGRADED = 0.5
"""Every outcome of a conversation without a graded turn, as of `oracle_score`."""


class Outcome(StrEnum):
    """Summaries of the grades of a conversation's turns; all of them lie in [0, 1]."""

    MEAN = "mean"
    """The mean grade: `oracle_score`."""
    WORST = "worst turn"
    """The lowest grade."""
    FINAL = "final"
    """The grade of the last turn."""
    GOAL = "goal reached"
    """1 or 0. If the user announced a plan: whether each step that the user asked for was answered in the end, and
    no error that the user pointed out was left. Without a plan: whether no error at all was left."""


@dataclass(frozen=True, slots=True)
class _Exchange:
    """A request with its corrections: the kind of the request, and the errors of the last reply."""

    kind: object
    errors: frozenset[ErrorKind]


def oracle_outcomes(conversation: Conversation) -> dict[Outcome, float]:
    """Return every outcome of a conversation; 0.5 each if no turn can be graded.

    Example:
        >>> talk = Conversation().user("I would like the cost, gear of rose, each in turn.")
        >>> talk = talk.assistant("Sure. Plan rose timing early.")
        >>> talk = talk.user("The next side was another. Please do it right this time.")
        >>> talk = talk.assistant("Sure. Plan rose cost early.")
        >>> talk = talk.user("And the next side?").assistant("Sure. Keep rose gear simple.")
        >>> {outcome.value: round(value, 2) for outcome, value in oracle_outcomes(talk).items()}
        {'mean': 0.83, 'worst turn': 0.5, 'final': 1.0, 'goal reached': 1.0}
    """
    grades = grade_turns(conversation)
    if not grades:
        return dict.fromkeys(Outcome, UNGRADED)
    scores = [grade.score for grade in grades]
    return {
        Outcome.MEAN: sum(scores) / len(scores),
        Outcome.WORST: min(scores),
        Outcome.FINAL: scores[-1],
        Outcome.GOAL: float(_reaches_goal(_exchanges(expectations(conversation), grades))),
    }


def _exchanges(expected: Sequence[Expectation | None], grades: Sequence[TurnGrade]) -> list[_Exchange]:
    """Join each request with its corrections."""
    exchanges: list[_Exchange] = []
    for grade in grades:
        request = expected[grade.turn]
        assert request is not None, "only these turns are graded"
        if request.wrong is not None and exchanges:
            exchanges.pop()
        exchanges.append(_Exchange(request.kind, frozenset(grade.errors)))
    return exchanges


def _reaches_goal(exchanges: Sequence[_Exchange]) -> bool:
    """Whether nothing that counts is wrong in the end."""
    if not any(exchange.kind is MemoryAsk.PLAN for exchange in exchanges):
        return not any(exchange.errors for exchange in exchanges)
    return not any(exchange.errors & {ErrorKind.STEP, ErrorKind.CORRECTION} for exchange in exchanges)
