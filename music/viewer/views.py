"""What the page of a record shows, as plain data: `view_of` turns a `Record` into turns of bubbles.

A bubble is one message, with the words marked that the other side does not have. The turns that both sides share come
first; a page folds them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import orjson

from music.conversation import Message
from music.pairs import TurnContrast
from music.viewer.differences import Span, cut_spans, differ_throughout, mark_differences
from music.viewer.records import Decision, Kind, Record
from music.viewer.turns import AlignedTurn, align, contrasts_by_turn, facts_of

__all__ = ["Bubble", "BubbleRow", "ChoiceView", "RecordView", "TurnView", "detail_text", "view_of"]

CUT_CHARACTERS = 20_000
"""Characters of a message after which a page folds the rest."""


@dataclass(frozen=True, slots=True)
class Bubble:
    """One message.

    Attributes:
        role: Its role.
        name: The name of its tool or speaker; empty for none.
        shown: The text up to the cut.
        rest: The text after the cut.
        tool_calls: The calls as JSON; empty for none.
        num_characters: The length of the whole text.
    """

    role: str
    name: str
    shown: tuple[Span, ...]
    rest: tuple[Span, ...]
    tool_calls: str
    num_characters: int


@dataclass(frozen=True, slots=True)
class BubbleRow:
    """Messages beside each other: one of each side, or one that both sides share.

    Attributes:
        cells: A bubble for each side, None where a side has no message; a single one if all sides share it.
        differs_throughout: Whether two messages share so little that no words are marked.
    """

    cells: tuple[Bubble | None, ...]
    differs_throughout: bool = False


@dataclass(frozen=True, slots=True)
class TurnView:
    """One turn.

    Attributes:
        number: Its number, from 1; 0 for what comes before the first user message.
        rows: Its messages.
        differs: Whether the sides differ in it.
        contrast: How its rejected reply was made worse; None for none.
    """

    number: int
    rows: tuple[BubbleRow, ...]
    differs: bool = False
    contrast: TurnContrast | None = None


@dataclass(frozen=True, slots=True)
class ChoiceView:
    """One choice of a rollout.

    Attributes:
        number: Its number, from 1.
        candidates: For each candidate, its bubbles, its score (None for none) and whether it was kept.
    """

    number: int
    candidates: tuple[tuple[tuple[Bubble, ...], float | None, bool], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordView:
    """A record as a page shows it.

    Attributes:
        record: The record.
        sides: The names of the sides that stand beside each other.
        shared: The turns that all sides share, before the first difference.
        turns: The other turns.
        num_turns: The number of turns of the longest side.
        lengths: Characters of the replies of a pair's sides, after the seed.
        choices: The choices of a rollout.
    """

    record: Record
    sides: tuple[str, ...]
    shared: tuple[TurnView, ...]
    turns: tuple[TurnView, ...]
    num_turns: int
    lengths: tuple[int, ...] = ()
    choices: tuple[ChoiceView, ...] = ()

    @property
    def last_shared(self) -> str:
        """The text of the last message before the first difference; empty for none."""
        cells = self.shared[-1].rows[-1].cells if self.shared else ()
        return "".join(span.text for cell in cells if cell for span in cell.shown)

    @property
    def num_differing(self) -> int:
        """The number of turns in which the sides differ."""
        return sum(turn.differs for turn in self.turns)

    @property
    def first_difference(self) -> int | None:
        """The number of the first turn in which the sides differ; None for none."""
        return next((turn.number for turn in self.turns if turn.differs), None)


def view_of(record: Record) -> RecordView:
    """Return what the page of a record shows."""
    names = tuple(side.name for side in record.sides)
    turns = _pair_turns(record) if record.kind is Kind.PAIR else _plain_turns(record)
    first = next((place for place, turn in enumerate(turns) if turn.differs), 0)
    return RecordView(
        record=record,
        sides=names,
        shared=tuple(turns[:first]),
        turns=tuple(turns[first:]),
        num_turns=max((turn.number for turn in turns), default=0),
        lengths=_lengths(record),
        choices=tuple(_choice(number, each) for number, each in enumerate(record.decisions, start=1)),
    )


def detail_text(value: object) -> str:
    """Return a detail of a record as text for people."""
    if isinstance(value, str):
        return value
    return orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()


def _pair_turns(record: Record) -> list[TurnView]:
    contrasts = contrasts_by_turn(record)
    aligned = align(record.sides[0].messages, record.sides[1].messages)
    return [
        TurnView(turn.number, tuple(_pair_rows(turn)), turn.differs, contrasts.get(turn.number)) for turn in aligned
    ]


def _pair_rows(turn: AlignedTurn) -> list[BubbleRow]:
    rows = []
    for left, right in turn.rows:
        if left is not None and left == right:
            rows.append(BubbleRow((_plain(left),)))
        elif left is None or right is None:
            rows.append(BubbleRow(tuple(_plain(each) for each in (left, right))))
        else:
            rows.append(_marked_row(left, right))
    return rows


def _marked_row(left: Message, right: Message) -> BubbleRow:
    """Return two messages with the words marked that differ, or unmarked if nearly all do."""
    marked = mark_differences(left.content, right.content)
    if left.content and right.content and differ_throughout(*marked):
        return BubbleRow((_plain(left), _plain(right)), differs_throughout=True)
    return BubbleRow((_bubble(left, marked[0]), _bubble(right, marked[1])))


def _plain_turns(record: Record) -> list[TurnView]:
    """Return the turns of a single conversation, or of the prompt and the completions of an item."""
    if not record.sides:
        return []
    num = record.num_shared if len(record.sides) > 1 else len(record.sides[0].messages)
    turns: list[TurnView] = []
    for turn in align(record.sides[0].messages[:num], ()):
        rows = [BubbleRow((_plain(left),)) for left, _ in turn.rows if left is not None]
        turns.append(TurnView(turn.number, tuple(rows)))
    if len(record.sides) > 1:
        rests = [side.messages[num:] for side in record.sides]
        cells = (
            tuple(rest[place] if place < len(rest) else None for rest in rests) for place in range(max(map(len, rests)))
        )
        rows = [BubbleRow(tuple(_plain(each) for each in row)) for row in cells]
        number = turns[-1].number if turns else 1
        turns = [*turns[:-1], TurnView(number, (*(turns[-1].rows if turns else ()), *rows), differs=True)]
    return turns


def _lengths(record: Record) -> tuple[int, ...]:
    facts = facts_of(record)
    both = (facts.chosen_length, facts.rejected_length) if record.kind is Kind.PAIR else ()
    return tuple(each for each in both if each is not None)


def _choice(number: int, decision: Decision) -> ChoiceView:
    scores: Sequence[float | None] = decision.scores or [None] * len(decision.candidates)
    candidates = (
        (tuple(_plain(each) for each in messages), score, place == decision.chosen)
        for place, (messages, score) in enumerate(zip(decision.candidates, scores, strict=False))
    )
    return ChoiceView(number, tuple(candidates))


@overload
def _plain(message: Message) -> Bubble: ...
@overload
def _plain(message: Message | None) -> Bubble | None: ...
def _plain(message: Message | None) -> Bubble | None:
    """Return the bubble of a message without marks."""
    return None if message is None else _bubble(message, [Span(message.content)])


def _bubble(message: Message, spans: list[Span]) -> Bubble:
    shown, rest = cut_spans(spans, CUT_CHARACTERS)
    calls = detail_text(orjson.loads(message.tool_calls)) if message.tool_calls else ""
    return Bubble(message.role, message.name, tuple(shown), tuple(rest), calls, len(message.content))
