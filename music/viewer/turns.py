"""`align`: the sides of a record turn by turn, and `facts_of`: the numbers that a list is filtered and sorted by.

A turn is a user message with all that answers it. A system message, or anything else before the first user message, is
turn 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from music.conversation import Message
from music.pairs import TurnContrast
from music.viewer.records import Kind, Record

__all__ = ["AlignedTurn", "Facts", "align", "contrasts_by_turn", "facts_of"]

_TITLE_LENGTH = 200

Turn = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class AlignedTurn:
    """One turn of two sides.

    Attributes:
        number: Its number, from 1; 0 for the messages before the first user message.
        rows: The messages of the two sides beside each other; None where a side has none.
    """

    number: int
    rows: tuple[tuple[Message | None, Message | None], ...]

    @property
    def differs(self) -> bool:
        """Whether the sides differ in this turn."""
        return any(left != right for left, right in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a list shows of a record, and what it is filtered and sorted by.

    Attributes:
        title: The beginning of the first user message.
        num_turns: The number of turns of its longest side.
        diverging_turn: The first turn in which the sides differ; None without two sides.
        chosen_length: Characters of the assistant's messages of the chosen side, or of the only one, after the seed.
        rejected_length: The same of the rejected side; None for none.
        strategies: The names of its contrasts, each once.
    """

    title: str
    num_turns: int
    diverging_turn: int | None
    chosen_length: int | None
    rejected_length: int | None
    strategies: tuple[str, ...]


def align(chosen: Sequence[Message], rejected: Sequence[Message]) -> list[AlignedTurn]:
    """Return the turns of two sides beside each other."""
    left, right = _split(chosen), _split(rejected)
    return [
        AlignedTurn(number, tuple(zip_longest(left.get(number, ()), right.get(number, ()))))
        for number in sorted(left.keys() | right.keys())
    ]


def facts_of(record: Record) -> Facts:
    """Return the facts of a record."""
    sides = [side.messages for side in record.sides]
    is_pair = record.kind is Kind.PAIR
    lengths = [_reply_length(side[record.num_seed_messages :]) for side in sides]
    first = next((message.content for side in sides for message in side if message.role == "user"), "")
    return Facts(
        title=_title(first or str(record.details.get("detail", ""))),
        num_turns=max((max(_split(side), default=0) for side in sides), default=0),
        diverging_turn=_diverging_turn(sides[0], sides[1]) if is_pair else None,
        chosen_length=lengths[0] if lengths else None,
        rejected_length=lengths[1] if is_pair else None,
        strategies=tuple(dict.fromkeys(contrast.strategy for contrast in record.contrasts)),
    )


def contrasts_by_turn(record: Record) -> dict[int, TurnContrast]:
    """Return the contrasts of a pair by the number of the turn in the conversation.

    A contrast counts simulated turns from 0; the turns of the seed come before them.
    """
    if len(record.sides) != 2:
        return {}
    messages = record.sides[1].messages
    following = [*(message.role for message in messages[1:]), "user"]
    simulated: list[int] = []
    number = 0
    for place, message in enumerate(messages):
        number += message.role == "user"
        ends = message.role == "assistant" and following[place] == "user"
        if ends and place >= record.num_seed_messages:
            simulated.append(number)
    return {simulated[each.turn]: each for each in record.contrasts if each.turn < len(simulated)}


def _title(text: str) -> str:
    """Return the beginning of a text in one line, up to a whole word if possible."""
    line = " ".join(text[: 2 * _TITLE_LENGTH].split())
    if len(line) <= _TITLE_LENGTH and len(text) <= 2 * _TITLE_LENGTH:
        return line
    words, _, rest = line[:_TITLE_LENGTH].rpartition(" ")
    return f"{words or rest}…"


def _split(messages: Sequence[Message]) -> dict[int, Turn]:
    turns: dict[int, list[Message]] = {}
    for number, message in _numbered(messages):
        turns.setdefault(number, []).append(message)
    return {number: tuple(each) for number, each in turns.items()}


def _numbered(messages: Sequence[Message]) -> Iterator[tuple[int, Message]]:
    number = 0
    for message in messages:
        number += message.role == "user"
        yield number, message


def _diverging_turn(chosen: Sequence[Message], rejected: Sequence[Message]) -> int | None:
    return next((turn.number for turn in align(chosen, rejected) if turn.differs), None)


def _reply_length(messages: Sequence[Message]) -> int:
    return sum(len(message.content) for message in messages if message.role == "assistant")
