"""Does the reward read the history? Pairs of several turns, as they are, with it cut, and with that of another.

A probe is a pair with another history. The last exchange (what the user said last, and the reply) stays as it is. A
system message stays too, as it is the operator's and not part of the history. Both sides of a pair get the same other
history; it comes from another prompt, with as many turns where there is one.
"""

import random
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from music.conversation import Conversation, Message
from music.evaluation.benchmarks.types import Item, ItemSet, Scores
from music.evaluation.diagnostics.scored_pairs import Floats, Mask, ScoredPairs
from music.statistics import Figure

__all__ = ["CUT", "SWAPPED", "ProbedPairs", "history_figures", "probe_pairs"]

CUT = "history cut"
SWAPPED = "history of another"

TABLE = "history"


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


def history_figures(
    pairs: ScoredPairs, probed: ProbedPairs, scores: Scores, truncated: Collection[str] = ()
) -> list[Figure]:
    """Return what is left of the ranking without the history, and whether a foreign one is noticed.

    Args:
        pairs: All pairs.
        probed: Their probes.
        scores: Of pairs and probes; a pair one of whose probes has none is left out.
        truncated: Ids of the pairs and probes whose score does not see all of the history; they are told.
    """
    is_probed = [
        all(item.id in ids and ids[item.id].id in scores for ids in probed.probes.values()) for item in pairs.items
    ]
    whole = pairs.subset(np.array(is_probed))
    if whole is None:
        return [pairs.nothing("as it is", TABLE, "no pair of several turns that has a probe")]
    cut, swapped = (_scored(whole.items, probed, name, scores) for name in (CUT, SWAPPED))
    num_truncated = sum(item.id in truncated for each in (whole, swapped) for item in each.items)
    note = f"{num_truncated} of them scored without their oldest exchanges" if num_truncated else ""
    return [
        whole.accuracy("as it is", TABLE, note=note),
        *_of_cut(whole, cut),
        *_of_swapped(whole, swapped),
    ]


def _scored(items: Sequence[Item], probed: ProbedPairs, name: str, scores: Scores) -> ScoredPairs:
    return ScoredPairs([probed.probes[name][item.id] for item in items], scores)


def _of_cut(whole: ScoredPairs, cut: ScoredPairs) -> list[Figure]:
    """Compare the pairs with themselves without history, where their last exchanges differ."""
    differ = np.array([item.completions[0] != item.completions[1] for item in cut.items])
    same = int((~differ).sum())
    note = f"{same} pairs left out, whose last exchange is the same on both sides" if same else ""
    agree = np.sign(whole.margins) == np.sign(cut.margins)
    figures = [
        cut.accuracy("history cut", TABLE, differ, note=note),
        whole.of_means("what the history adds", TABLE, _both(whole.hits, cut.hits, differ), _difference, null=0.0),
    ]
    if not differ.any():
        return figures
    left, right = whole.subset(differ), cut.subset(differ)
    assert left is not None
    assert right is not None
    return [
        *figures,
        left.mean("ranked alike with the history cut", TABLE, agree[differ].astype(float)),
        left.correlation("rank correlation of the margins", TABLE, left.margins, right.margins),
    ]


def _of_swapped(whole: ScoredPairs, swapped: ScoredPairs) -> list[Figure]:
    """Compare the pairs with themselves behind another conversation's history."""
    gaps: Floats = (whole.rewards - swapped.rewards)[:, 0]
    everywhere = np.ones(len(gaps), bool)
    spread = float(whole.rewards.std()) or 1.0
    both = _both(whole.hits, swapped.hits, everywhere)
    return [
        swapped.accuracy("history of another", TABLE),
        whole.of_means("what the right history adds", TABLE, both, _difference, null=0.0),
        whole.mean(
            "own history preferred",
            TABLE,
            (np.sign(gaps) + 1) / 2,
            chance=0.5,
            note="of the chosen side; ties count half",
        ),
        whole.mean(
            "own less other, in standard deviations", TABLE, gaps / spread, chance=0.0, note="of the chosen side"
        ),
    ]


def _both(first: Floats, second: Floats, among: Mask) -> list[tuple[Floats, Mask]]:
    return [(first, among), (second, among)]


def _difference(means: Floats) -> Floats:
    difference: Floats = means[:, 0] - means[:, 1]
    return difference
