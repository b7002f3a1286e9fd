"""Pairs with one known defect: two conversations that are equal except for one error in one assistant turn.

They show which turns a reward model reads. Otherwise both sides are flawless, use the same words, and continue equally.
The errors of `MEMORY_GROUPS` depend on earlier turns, and their users have memory. A `correction` is about an error
that the user points out: both sides have it one turn earlier.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.pairs import PreferencePair
from music.sandbox.world import players
from music.sandbox.world.language import read_user, write_reply
from music.sandbox.world.oracle import ErrorKind, grade_turns
from music.sandbox.world.state import Expectation, expectations
from music.sandbox.world.vocabulary import ASPECTS, COUNTS, AskKind, MemoryAsk, Reply, Standing, Tip, neighbours

__all__ = ["DEFECT_KINDS", "ERROR_GROUPS", "MEMORY_GROUPS", "Defect", "defect_rows", "draw_defects", "first_turn"]

ERROR_GROUPS: dict[str, tuple[ErrorKind, ...]] = {
    "relevance": (ErrorKind.TOPIC, ErrorKind.ASPECT),
    "count": (ErrorKind.COUNT,),
    "standing": (ErrorKind.ADDRESS, ErrorKind.END, ErrorKind.AVOID),
}
"""The kinds of errors by group in reports."""
DEFECT_KINDS = (*(kind for kinds in ERROR_GROUPS.values() for kind in kinds), ErrorKind.RECOLLECTION)
"""The kinds of errors that can be put into a reply to any user."""
MEMORY_GROUPS: dict[str, tuple[ErrorKind, ...]] = {
    "memory": (ErrorKind.CONTRADICTION, ErrorKind.CORRECTION, ErrorKind.STEP),
}
"""The kinds of errors that can be put into a reply to a user with memory, by group in reports."""
MEMORY_KINDS = tuple(kind for kinds in MEMORY_GROUPS.values() for kind in kinds)


@dataclass(frozen=True, slots=True)
class Defect:
    """A pair whose rejected side has exactly one error that the chosen side does not have.

    Attributes:
        kind: The error.
        turn: The assistant turn with the error, from 0.
        pair: The flawless side as `chosen`; for `correction`, the side on which the error was corrected.
    """

    kind: ErrorKind
    turn: int
    pair: PreferencePair


def draw_defects(kind: ErrorKind, turn: int, num_turns: int, num: int, seed: int) -> list[Defect]:
    """Draw pairs with one error of a kind in one turn.

    Args:
        kind: One of `DEFECT_KINDS`, or of the kinds of `MEMORY_GROUPS`.
        turn: The turn with the error, from `first_turn(kind)`.
        num_turns: Assistant turns of both sides.
        num: Number of pairs.
        seed: Seed of the conversations.

    Raises:
        InvalidInputError: The turn cannot have the error.
    """
    if not first_turn(kind) <= turn < num_turns:
        raise InvalidInputError(
            f"expected a turn from {first_turn(kind)} to {num_turns - 1} for a defect of {kind} in {num_turns} turns, "
            f"got {turn}"
        )
    return list(islice(_defects(kind, turn, num_turns, seed), num))


def first_turn(kind: ErrorKind) -> int:
    """Return the first turn that can have an error, from 0: what it is about has to be said before."""
    return {ErrorKind.CONTRADICTION: 2, ErrorKind.RECOLLECTION: 1, ErrorKind.CORRECTION: 1, ErrorKind.STEP: 1}.get(
        kind, 0
    )


def defect_rows(num: int, num_turns: int, seed: int, *, memory: bool = False) -> Iterator[dict[str, Any]]:
    """Yield pairs with one defect, as rows for `music evaluate defects`.

    Args:
        num: Pairs for each kind of defect and each turn that can have it.
        num_turns: Assistant turns of both sides.
        seed: Seed of the conversations.
        memory: Whether to add the kinds of `MEMORY_GROUPS`.
    """
    for kind in (*DEFECT_KINDS, *(MEMORY_KINDS if memory else ())):
        for turn in range(first_turn(kind), num_turns):
            for defect in draw_defects(kind, turn, num_turns, num, seed):
                sides = {"chosen": defect.pair.chosen.to_messages(), "rejected": defect.pair.rejected.to_messages()}
                yield {"id": defect.pair.id, "source": "sandbox", "kind": kind, **sides}


def _defects(kind: ErrorKind, turn: int, num_turns: int, seed: int) -> Iterator[Defect]:
    """Yield defects without end; skip conversations in which the error would not be the only one."""
    rng = random.Random(f"defects/{kind}/{turn}/{num_turns}/{seed}")
    while True:
        tag = f"{seed}/{rng.random()}"
        sides = _sides(kind, turn, num_turns, tag)
        if sides is None or _difference(*sides) != [(turn, (kind,))]:
            continue
        pair = PreferencePair(id=f"{kind}@{turn}/{tag}", chosen=sides[0], rejected=sides[1], source="defects")
        yield Defect(kind, turn, pair)


def _difference(good: Conversation, bad: Conversation) -> list[tuple[int, tuple[ErrorKind, ...]]]:
    """Return the turns whose errors differ, with the errors of the second side."""
    errors = {grade.turn: grade.errors for grade in grade_turns(good)}
    return [(grade.turn, grade.errors) for grade in grade_turns(bad) if grade.errors != errors.get(grade.turn, ())]


def _sides(kind: ErrorKind, turn: int, num_turns: int, tag: str) -> tuple[Conversation, Conversation] | None:
    """Return a flawless conversation and the same one with the error; None if the error does not fit."""
    good = bad = Conversation()
    for index in range(num_turns):
        said = players.user_turn(good, f"{tag}/{index}", memory=kind in MEMORY_KINDS)
        act = read_user(said)
        if index == turn + 1 and act and act.ask.kind is AskKind.FOLLOW_UP:
            return None
        good, bad = good.user(said), bad.user(said)
        expected = expectations(good)[-1]
        if expected is None:
            return None
        draft: Reply | None = players.draft(expected, f"{tag}/{index}", 0.0)
        if draft and kind is ErrorKind.CORRECTION and index == turn - 1:
            rng = players.stream(tag, "first defect")
            draft = _spoilt(draft, rng.choice(DEFECT_KINDS), expected, rng)
        if draft is None:
            return None
        spoilt = _spoilt(draft, kind, expected, players.stream(tag, "defect")) if index == turn else draft
        if spoilt is None:
            return None
        good = good.assistant(write_reply(draft, players.stream(f"{tag}/{index}", "words")))
        bad = bad.assistant(write_reply(spoilt, players.stream(f"{tag}/{index}", "words")))
    return good, bad


def _spoilt(said: Reply, kind: ErrorKind, expected: Expectation, rng: random.Random) -> Reply | None:
    """Put one error into a reply; None if the request does not allow it."""
    if kind in ERROR_GROUPS["standing"]:
        wish = expected.standing.get(Standing(kind))
        return players.violated(said, Standing(kind), wish, rng) if wish else None
    if kind is ErrorKind.RECOLLECTION:
        return replace(said, fact=players.other_fact(said.fact, rng)) if said.fact else None
    if kind is ErrorKind.CORRECTION:
        return players.repeated(expected, said) if expected.wrong else None
    wanted = {ErrorKind.CONTRADICTION: MemoryAsk.QUOTE, ErrorKind.STEP: MemoryAsk.STEP}.get(kind)
    if not said.tips or expected.kind is AskKind.FOLLOW_UP or wanted not in (None, expected.kind):
        return None
    topic, aspect = said.tips[0].topic or "", said.tips[0].aspect or ""
    if kind is ErrorKind.COUNT:
        count = rng.choice([n for n in COUNTS if n != len(said.tips)])
        return replace(said, tips=said.tips[:1] * count)
    if kind is ErrorKind.TOPIC:
        topic = rng.choice(neighbours(topic))
    else:
        aspect = rng.choice([other for other in expected.steps or ASPECTS if other != aspect])
    return replace(said, tips=(Tip(topic, aspect),) * len(said.tips))
