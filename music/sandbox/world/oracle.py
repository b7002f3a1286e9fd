"""The oracle: grades every assistant reply of a sandbox conversation from its text alone.

`grade_turns` names the errors of each turn. `oracle_score` is a reward function; `oracle_choice` and `oracle_rating`
are the answers of the sandbox as a judge.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from music.conversation import Conversation
from music.prompts import HIGHEST, LOWEST, Choice
from music.sandbox.world.language import read_reply
from music.sandbox.world.state import Expectation, expectations
from music.sandbox.world.vocabulary import AskKind, MemoryAsk, Reply, Standing

__all__ = ["PENALTIES", "ErrorKind", "TurnGrade", "grade_turns", "oracle_choice", "oracle_rating", "oracle_score"]


class ErrorKind(StrEnum):
    """Kinds of errors in a reply."""

    TOPIC = "topic"
    ASPECT = "aspect"
    COUNT = "count"
    FOLLOW_UP = "follow_up"
    RECOLLECTION = "recollection"
    ADDRESS = "address"
    END = "end"
    AVOID = "avoid"
    CONTRADICTION = "contradiction"
    """The reply does not agree with what the assistant said earlier."""
    CORRECTION = "correction"
    """The reply repeats the error that the user points out."""
    STEP = "step"
    """The reply is not about the step of the plan that is due."""


PENALTIES: dict[ErrorKind, float] = {
    ErrorKind.TOPIC: 0.5,
    ErrorKind.ASPECT: 0.4,
    ErrorKind.COUNT: 0.25,
    ErrorKind.FOLLOW_UP: 0.5,
    ErrorKind.RECOLLECTION: 0.7,
    ErrorKind.ADDRESS: 0.25,
    ErrorKind.END: 0.2,
    ErrorKind.AVOID: 0.35,
    ErrorKind.CONTRADICTION: 0.6,
    ErrorKind.CORRECTION: 0.8,
    ErrorKind.STEP: 0.5,
}


@dataclass(frozen=True, slots=True)
class TurnGrade:
    """The grade of one assistant turn.

    Attributes:
        turn: Index of the turn, from 0.
        score: In [0, 1]: 1 minus the penalties of its errors.
        errors: The kinds of errors, each at most once.
    """

    turn: int
    score: float
    errors: tuple[ErrorKind, ...]


def grade_turns(conversation: Conversation) -> tuple[TurnGrade, ...]:
    """Grade every assistant turn whose request is of this world; the others are left out.

    Example:
        >>> asked = Conversation().user("Can I get one tip for rose cost?")
        >>> grade_turns(asked.assistant("Sure. Plan rose gear early."))
        (TurnGrade(turn=0, score=0.6, errors=(<ErrorKind.ASPECT: 'aspect'>,)),)
    """
    replies = [m.content for m in conversation.messages if m.role == "assistant"]
    pairs = zip(expectations(conversation), replies, strict=False)
    return tuple(_graded(turn, expected, reply) for turn, (expected, reply) in enumerate(pairs) if expected)


def oracle_score(conversations: Sequence[Conversation]) -> list[float]:
    """Score conversations in [0, 1]: the mean over the graded turns, or 0.5 if no turn can be graded.

    Example:
        >>> asked = Conversation().user("Can I get one tip for rose cost?")
        >>> oracle_score([asked.assistant("Sure. Plan rose cost early.")])
        [1.0]
    """
    grades = (grade_turns(conversation) for conversation in conversations)
    return [sum(g.score for g in turns) / len(turns) if turns else 0.5 for turns in grades]


def oracle_choice(first: Conversation, second: Conversation, margin: float = 0.0) -> Choice:
    """Return in which conversation the assistant is better; score differences up to the margin are a tie."""
    one, other = oracle_score([first, second])
    if abs(one - other) <= margin:
        return Choice.TIE
    return Choice.FIRST if one > other else Choice.SECOND


def oracle_rating(conversation: Conversation) -> float:
    """Return the oracle's score on the scale of ratings."""
    return LOWEST + (HIGHEST - LOWEST) * oracle_score([conversation])[0]


def _graded(turn: int, expected: Expectation, text: str) -> TurnGrade:
    """Grade one reply."""
    reply = read_reply(text)
    errors = tuple(_content_errors(expected, reply) + _standing_errors(expected, reply))
    if expected.wrong is not None:
        errors = tuple(dict.fromkeys(_corrected(error, expected.error) for error in errors))
    return TurnGrade(turn, max(0.0, 1.0 - sum(PENALTIES[error] for error in errors)), errors)


def _content_errors(expected: Expectation, reply: Reply) -> list[ErrorKind]:
    """Return the errors against the request itself."""
    if expected.fact is not None:
        return [] if reply.fact == expected.fact else [ErrorKind.RECOLLECTION]
    wanted = expected.tips[0]
    wrong_topic = not reply.tips or any(tip.topic != wanted.topic for tip in reply.tips)
    wrong_aspect = not reply.tips or any(tip.aspect != wanted.aspect for tip in reply.tips)
    errors = []
    if expected.kind is MemoryAsk.QUOTE:
        return [ErrorKind.CONTRADICTION] * (wrong_topic or wrong_aspect)
    if expected.kind is AskKind.FOLLOW_UP:
        errors += [ErrorKind.FOLLOW_UP] * (wrong_topic or wrong_aspect)
    elif isinstance(expected.kind, MemoryAsk):
        errors += [ErrorKind.STEP] * (wrong_topic or wrong_aspect)
    else:
        errors += [ErrorKind.TOPIC] * wrong_topic + [ErrorKind.ASPECT] * wrong_aspect
    return errors + [ErrorKind.COUNT] * (len(reply.tips) != len(expected.tips))


def _corrected(error: ErrorKind, pointed_out: str | None) -> ErrorKind:
    """Return the kind of an error of a reply to a correction: what the user points out weighs more the second time."""
    return ErrorKind.CORRECTION if pointed_out in (None, error) else error


def _standing_errors(expected: Expectation, reply: Reply) -> list[ErrorKind]:
    """Return the errors against standing wishes."""
    standing = expected.standing
    errors = []
    if Standing.ADDRESS in standing and reply.name != standing[Standing.ADDRESS]:
        errors.append(ErrorKind.ADDRESS)
    if Standing.END in standing and reply.ending != standing[Standing.END]:
        errors.append(ErrorKind.END)
    if Standing.AVOID in standing and standing[Standing.AVOID] in reply.resources:
        errors.append(ErrorKind.AVOID)
    return errors
