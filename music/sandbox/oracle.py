"""The oracle: grades every assistant reply of a sandbox conversation by its text alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from music.conversation import Conversation
from music.sandbox.acts import Kind, Reply
from music.sandbox.language import read_reply
from music.sandbox.state import Expectation, expectations
from music.sandbox.world import Standing

__all__ = ["PENALTIES", "ErrorKind", "TurnGrade", "grade", "score"]


class ErrorKind(StrEnum):
    """What can be wrong with a reply."""

    TOPIC = "topic"
    ASPECT = "aspect"
    COUNT = "count"
    FOLLOW_UP = "follow_up"
    RECOLLECTION = "recollection"
    ADDRESS = "address"
    END = "end"
    AVOID = "avoid"


PENALTIES: dict[ErrorKind, float] = {
    ErrorKind.TOPIC: 0.5,
    ErrorKind.ASPECT: 0.4,
    ErrorKind.COUNT: 0.25,
    ErrorKind.FOLLOW_UP: 0.5,
    ErrorKind.RECOLLECTION: 0.7,
    ErrorKind.ADDRESS: 0.25,
    ErrorKind.END: 0.2,
    ErrorKind.AVOID: 0.35,
}


@dataclass(frozen=True, slots=True)
class TurnGrade:
    """The grade of one assistant turn.

    Attributes:
        turn: Index of the turn, from 0.
        score: In [0, 1]: 1 less the penalties of its errors.
        errors: The kinds of errors, each at most once.
    """

    turn: int
    score: float
    errors: tuple[ErrorKind, ...]


def grade(conversation: Conversation) -> tuple[TurnGrade, ...]:
    """Grade every assistant turn whose request is of this world; others are left out."""
    replies = [m.content for m in conversation.messages if m.role == "assistant"]
    pairs = zip(expectations(conversation), replies, strict=False)
    return tuple(_graded(turn, expected, reply) for turn, (expected, reply) in enumerate(pairs) if expected)


def score(conversations: Sequence[Conversation]) -> list[float]:
    """Score conversations, each in [0, 1]: the mean over the graded turns, 0.5 where no turn can be graded."""
    grades = (grade(conversation) for conversation in conversations)
    return [sum(g.score for g in turns) / len(turns) if turns else 0.5 for turns in grades]


def find_errors(expected: Expectation, reply: Reply) -> tuple[ErrorKind, ...]:
    """Compare what a reply says with what it should say."""
    return (*_content_errors(expected, reply), *_standing_errors(expected, reply))


def _graded(turn: int, expected: Expectation, text: str) -> TurnGrade:
    """Grade one reply."""
    errors = find_errors(expected, read_reply(text))
    return TurnGrade(turn, max(0.0, 1.0 - sum(PENALTIES[error] for error in errors)), errors)


def _content_errors(expected: Expectation, reply: Reply) -> list[ErrorKind]:
    """Return the errors against the request itself."""
    if expected.fact is not None:
        return [] if reply.fact == expected.fact else [ErrorKind.RECOLLECTION]
    wanted = expected.items[0]
    wrong_topic = not reply.items or any(item.topic != wanted.topic for item in reply.items)
    wrong_aspect = not reply.items or any(item.aspect != wanted.aspect for item in reply.items)
    errors = []
    if expected.kind is Kind.FOLLOW_UP:
        errors += [ErrorKind.FOLLOW_UP] * (wrong_topic or wrong_aspect)
    else:
        errors += [ErrorKind.TOPIC] * wrong_topic + [ErrorKind.ASPECT] * wrong_aspect
    return errors + [ErrorKind.COUNT] * (len(reply.items) != len(expected.items))


def _standing_errors(expected: Expectation, reply: Reply) -> list[ErrorKind]:
    """Return the standing wishes that the reply violates."""
    standing = expected.standing
    errors = []
    if Standing.ADDRESS in standing and reply.name != standing[Standing.ADDRESS]:
        errors.append(ErrorKind.ADDRESS)
    if Standing.END in standing and reply.ending != standing[Standing.END]:
        errors.append(ErrorKind.END)
    if Standing.AVOID in standing and standing[Standing.AVOID] in reply.resources:
        errors.append(ErrorKind.AVOID)
    return errors
