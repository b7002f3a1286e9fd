"""Pairs with one known defect: two conversations that are equal except for one error in one assistant turn.

They show which turns a reward model reads. Otherwise both sides are flawless, use the same words, and continue equally.
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
from music.sandbox.world.vocabulary import ASPECTS, COUNTS, AskKind, Reply, Standing, Tip, neighbours

__all__ = ["DEFECT_KINDS", "ERROR_GROUPS", "Defect", "defect_rows", "draw_defects"]

ERROR_GROUPS: dict[str, tuple[ErrorKind, ...]] = {
    "relevance": (ErrorKind.TOPIC, ErrorKind.ASPECT),
    "count": (ErrorKind.COUNT,),
    "standing": (ErrorKind.ADDRESS, ErrorKind.END, ErrorKind.AVOID),
}
"""The kinds of errors by group in reports."""
DEFECT_KINDS = (*(kind for kinds in ERROR_GROUPS.values() for kind in kinds), ErrorKind.RECOLLECTION)
"""The kinds of errors that can be put into a reply."""


@dataclass(frozen=True, slots=True)
class Defect:
    """A pair whose rejected side has exactly one error.

    Attributes:
        kind: The error.
        turn: The assistant turn with the error, from 0.
        pair: The flawless side as `chosen`.
    """

    kind: ErrorKind
    turn: int
    pair: PreferencePair


def draw_defects(kind: ErrorKind, turn: int, num_turns: int, num: int, seed: int) -> list[Defect]:
    """Draw pairs with one error of a kind in one turn.

    Args:
        kind: One of `DEFECT_KINDS`.
        turn: The turn with the error, from 0; from 1 for `recollection`, as nothing can be recalled in the first turn.
        num_turns: Assistant turns of both sides.
        num: Number of pairs.
        seed: Seed of the conversations.

    Raises:
        InvalidInputError: The turn cannot have the error.
    """
    if kind is ErrorKind.RECOLLECTION and turn == 0:
        raise InvalidInputError(
            "expected a turn from 1 for a defect of recollection, got 0: nothing was said before it"
        )
    return list(islice(_defects(kind, turn, num_turns, seed), num))


def defect_rows(num: int, num_turns: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield pairs with one defect, as rows for `music evaluate defects`.

    Args:
        num: Pairs for each kind of defect and each turn that can have it.
        num_turns: Assistant turns of both sides.
        seed: Seed of the conversations.
    """
    for kind in DEFECT_KINDS:
        for turn in range(int(kind is ErrorKind.RECOLLECTION), num_turns):  # nothing can be recalled in the first turn
            for defect in draw_defects(kind, turn, num_turns, num, seed):
                sides = {"chosen": defect.pair.chosen.to_messages(), "rejected": defect.pair.rejected.to_messages()}
                yield {"id": defect.pair.id, "source": "sandbox", "kind": kind, **sides}


def _defects(kind: ErrorKind, turn: int, num_turns: int, seed: int) -> Iterator[Defect]:
    """Yield defects without end; skip conversations in which the error would not be the only one."""
    rng = random.Random(f"defects/{kind}/{turn}/{num_turns}/{seed}")
    while True:
        tag = f"{seed}/{rng.random()}"
        sides = _sides(kind, turn, num_turns, tag)
        if sides is None or [g.errors for g in grade_turns(sides[1]) if g.errors] != [(kind,)]:
            continue
        pair = PreferencePair(id=f"{kind}@{turn}/{tag}", chosen=sides[0], rejected=sides[1], source="defects")
        yield Defect(kind, turn, pair)


def _sides(kind: ErrorKind, turn: int, num_turns: int, tag: str) -> tuple[Conversation, Conversation] | None:
    """Return a flawless conversation and the same one with the error; None if the error does not fit."""
    good = bad = Conversation()
    for index in range(num_turns):
        said = players.user_turn(good, f"{tag}/{index}")
        act = read_user(said)
        if index == turn + 1 and act and act.ask.kind is AskKind.FOLLOW_UP:
            return None
        good, bad = good.user(said), bad.user(said)
        expected = expectations(good)[-1]
        if expected is None:
            return None
        draft = players.draft(expected, f"{tag}/{index}", 0.0)
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
    if not said.tips or expected.kind is AskKind.FOLLOW_UP:
        return None
    topic, aspect = said.tips[0].topic or "", said.tips[0].aspect or ""
    if kind is ErrorKind.COUNT:
        count = rng.choice([n for n in COUNTS if n != len(said.tips)])
        return replace(said, tips=said.tips[:1] * count)
    if kind is ErrorKind.TOPIC:
        topic = rng.choice(neighbours(topic))
    else:
        aspect = rng.choice([other for other in ASPECTS if other != aspect])
    return replace(said, tips=(Tip(topic, aspect),) * len(said.tips))
