"""Minimal pairs with one known defect: two conversations that are equal but for one error in one assistant turn.

They show which turns a reward model reads. Both sides are flawless otherwise, use the same words, and go on alike.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.pairs import PreferencePair
from music.sandbox import players
from music.sandbox.acts import Item, Kind, Reply
from music.sandbox.language import read_user, write_reply
from music.sandbox.oracle import ErrorKind, grade
from music.sandbox.state import Expectation, expectations
from music.sandbox.world import ASPECTS, Standing, neighbours

__all__ = ["GROUPS", "Defect", "defects"]

GROUPS: dict[str, tuple[ErrorKind, ...]] = {
    "relevance": (ErrorKind.TOPIC, ErrorKind.ASPECT),
    "count": (ErrorKind.COUNT,),
    "standing": (ErrorKind.ADDRESS, ErrorKind.END, ErrorKind.AVOID),
}
"""The kinds of errors, grouped as they are reported."""


@dataclass(frozen=True, slots=True)
class Defect:
    """A pair whose rejected side has exactly one error.

    Attributes:
        kind: The error.
        turn: The assistant turn that holds it, from 0.
        pair: The flawless side as `chosen`.
    """

    kind: ErrorKind
    turn: int
    pair: PreferencePair


def defects(kind: ErrorKind, turn: int, num_turns: int, num: int, seed: int) -> list[Defect]:
    """Draw pairs with one error of a kind in one turn.

    Args:
        kind: Any kind that `GROUPS` names, or `recollection`.
        turn: The turn that holds it, from 0; from 1 for `recollection`, as nothing can be recalled in the first.
        num_turns: Assistant turns of both sides.
        num: Number of pairs.
        seed: Draws the conversations.

    Raises:
        InvalidInputError: The turn cannot hold the error.
    """
    if kind is ErrorKind.RECOLLECTION and turn == 0:
        raise InvalidInputError(
            "expected a turn from 1 for a defect of recollection, got 0: nothing was said before it"
        )
    return list(islice(_defects(kind, turn, num_turns, seed), num))


def _defects(kind: ErrorKind, turn: int, num_turns: int, seed: int) -> Iterator[Defect]:
    """Draw without end; conversations in which the error cannot stand alone are passed over."""
    rng = random.Random(f"defects/{kind}/{turn}/{num_turns}/{seed}")
    while True:
        tag = f"{seed}/{rng.random()}"
        sides = _sides(kind, turn, num_turns, tag)
        if sides is None or [g.errors for g in grade(sides[1]) if g.errors] != [(kind,)]:
            continue
        pair = PreferencePair(id=f"{kind}@{turn}/{tag}", chosen=sides[0], rejected=sides[1], source="defects")
        yield Defect(kind, turn, pair)


def _sides(kind: ErrorKind, turn: int, num_turns: int, tag: str) -> tuple[Conversation, Conversation] | None:
    """Let a flawless conversation run, and its twin with the error."""
    good = bad = Conversation()
    for index in range(num_turns):
        said = players.user_turn(good, f"{tag}/{index}")
        act = read_user(said)
        if index == turn + 1 and act and act.ask.kind is Kind.FOLLOW_UP:
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
    """Put one error into a reply; None if the request gives no room for it."""
    if kind in GROUPS["standing"]:
        wish = expected.standing.get(Standing(kind))
        return players.violated(said, Standing(kind), wish, rng) if wish else None
    if kind is ErrorKind.RECOLLECTION:
        return replace(said, fact=players.other_fact(said.fact, rng)) if said.fact else None
    if not said.items or expected.kind is Kind.FOLLOW_UP:
        return None
    topic, aspect = said.items[0].topic or "", said.items[0].aspect or ""
    if kind is ErrorKind.COUNT:
        count = rng.choice([n for n in (1, 2, 3) if n != len(said.items)])
        return replace(said, items=said.items[:1] * count)
    if kind is ErrorKind.TOPIC:
        topic = rng.choice(neighbours(topic))
    else:
        aspect = rng.choice([other for other in ASPECTS if other != aspect])
    return replace(said, items=(Item(topic, aspect),) * len(said.items))
