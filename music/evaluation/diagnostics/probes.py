"""Probes: the pairs of several turns once more, with their history cut, and with the history of another conversation.

The last exchange (what the user said last, and the reply) stays as it is. A system message stays too, as it is the
operator's and not of the history. Both sides of a pair get the same other history; it comes from another prompt, with
as many turns where there is one.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from music.conversation import Conversation, Message
from music.evaluation.benchmarks.types import Item, ItemSet

__all__ = ["CUT", "SWAPPED", "ProbedPairs", "probe_pairs"]

CUT = "history cut"
SWAPPED = "history of another"


@dataclass(frozen=True, slots=True)
class ProbedPairs:
    """Pairs, and what else of them has to be scored.

    Attributes:
        items: The pairs.
        probes: The changed pairs, by the name of the change and the id of the pair.
        scored: All of them, as they are scored: in one go, so that what they share is computed once.
    """

    items: ItemSet
    probes: dict[str, dict[str, Item]]
    scored: ItemSet


def probe_pairs(items: ItemSet, *, seed: int = 0) -> ProbedPairs:
    """Make the probes of all pairs whose two sides have a history.

    Args:
        items: Pairs, as `Preferences` reads them.
        seed: Draws whose history stands in.
    """
    several = [item for item in items.items if all(side.num_turns > 1 for side in item.completions)]
    donors = _donors(several, seed)
    cut = {item.id: _changed(item, CUT, ()) for item in several}
    swapped = {id: _changed(item, SWAPPED, history) for id, (item, history) in donors.items()}
    probes = {CUT: cut, SWAPPED: swapped}
    everything = (*items.items, *(item for changed in probes.values() for item in changed.values()))
    return ProbedPairs(items, probes, ItemSet(items.benchmark, everything, items.rejected))


def _changed(item: Item, name: str, history: Sequence[Message]) -> Item:
    """Return a pair with another history before its last exchange."""
    sides = tuple(_with_history(side, history) for side in item.completions)
    return replace(item, id=f"{item.id} ({name})", completions=sides)


def _with_history(side: Conversation, history: Sequence[Message]) -> Conversation:
    system = side.messages[: int(side.has_system)]
    return Conversation(messages=(*system, *history, *side.messages[side.exchange_starts[-1] :]))


def _history(side: Conversation) -> tuple[Message, ...]:
    return side.messages[int(side.has_system) : side.exchange_starts[-1]]


def _donors(items: Sequence[Item], seed: int) -> dict[str, tuple[Item, tuple[Message, ...]]]:
    """Return for each pair, by its id, the history of a pair of another prompt; those without one are left out."""
    by_turns: dict[int, list[Item]] = defaultdict(list)
    for item in random.Random(seed).sample(items, len(items)):
        by_turns[item.completions[0].num_turns].append(item)
    found: dict[str, tuple[Item, tuple[Message, ...]]] = {}
    for turns, group in by_turns.items():
        nearest = sorted(by_turns, key=lambda number: abs(number - turns))
        for place, item in enumerate(group):
            following = (group[(place + step) % len(group)] for step in range(1, len(group)))
            candidates = chain(following, chain.from_iterable(by_turns[number] for number in nearest))
            donor = next((other for other in candidates if other.prompt_id != item.prompt_id), None)
            if donor is not None:
                found[item.id] = item, _history(donor.completions[0])
    return found
