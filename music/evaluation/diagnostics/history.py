"""Does the reward read the history? Pairs of several turns are scored unchanged, and as probes.

A probe is a pair whose history was cut, or replaced by that of another conversation. The last exchange (the user's last
message and the reply) is unchanged. A system message stays too: it is the operator's, and not part of the history. Both
sides of a pair get the same new history. It comes from another prompt, if possible one with as many turns.
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
    """Pairs and their probes.

    Attributes:
        items: The pairs.
        probes: The changed pairs, by the name of the change and the id of the pair.
        scored: Pairs and probes in one set, so that scoring computes what they share only once.
    """

    items: ItemSet
    probes: dict[str, dict[str, Item]]
    scored: ItemSet


def probe_pairs(items: ItemSet, *, seed: int = 0) -> ProbedPairs:
    """Make the probes of all pairs whose two sides have a history.

    Args:
        items: Pairs, as `Preferences` reads them.
        seed: The seed of the draw of histories.
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
    sides = []
    for side in item.completions:
        system, last_exchange = side.messages[: int(side.has_system)], side.messages[side.exchange_starts[-1] :]
        sides.append(Conversation(messages=(*system, *history, *last_exchange)))
    return replace(item, id=f"{item.id} ({name})", completions=tuple(sides))


def _donors(items: Sequence[Item], seed: int) -> dict[str, tuple[Item, tuple[Message, ...]]]:
    """Return each pair with the history of a pair of another prompt, by id; pairs without one are left out."""
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
                side = donor.completions[0]
                found[item.id] = item, side.messages[int(side.has_system) : side.exchange_starts[-1]]
    return found


def history_figures(
    pairs: ScoredPairs, probed: ProbedPairs, scores: Scores, truncated: Collection[str] = ()
) -> list[Figure]:
    """Return how well the model ranks without the history, and with that of another conversation.

    Args:
        pairs: All pairs.
        probed: Their probes.
        scores: The scores of pairs and probes. Pairs without a score for each probe are left out.
        truncated: The ids of pairs and probes that were scored without all of their history; a note gives their number.
    """
    is_probed = [
        all(item.id in ids and ids[item.id].id in scores for ids in probed.probes.values()) for item in pairs.items
    ]
    whole = pairs.subset(np.array(is_probed))
    if whole is None:
        return [pairs.nothing("as it is", TABLE, "no pair of several turns that has a probe")]
    cut, swapped = (
        ScoredPairs([probed.probes[name][item.id] for item in whole.items], scores) for name in (CUT, SWAPPED)
    )
    num_truncated = sum(item.id in truncated for each in (whole, swapped) for item in each.items)
    note = f"{num_truncated} of them scored without their oldest exchanges" if num_truncated else ""
    return [
        whole.accuracy("as it is", TABLE, note=note),
        *_of_cut(whole, cut),
        *_of_swapped(whole, swapped),
    ]


def _of_cut(whole: ScoredPairs, cut: ScoredPairs) -> list[Figure]:
    """Compare the pairs with those whose history is cut, if the last exchanges of the sides differ."""
    differ = np.array([item.completions[0] != item.completions[1] for item in cut.items])
    same = int((~differ).sum())
    note = f"{same} pairs left out, whose last exchange is the same on both sides" if same else ""
    agree = np.sign(whole.margins) == np.sign(cut.margins)
    figures = [
        cut.accuracy("history cut", TABLE, differ, note=note),
        _gain("what the history adds", whole, cut, differ),
    ]
    if not differ.any():
        return figures
    left, right = whole.subset(differ), cut.subset(differ)
    assert left is not None
    assert right is not None
    return [
        *figures,
        left.share("ranked alike with the history cut", TABLE, agree[differ].astype(float)),
        left.correlation("rank correlation of the margins", TABLE, left.margins, right.margins),
    ]


def _of_swapped(whole: ScoredPairs, swapped: ScoredPairs) -> list[Figure]:
    """Compare the pairs with those that have another conversation's history."""
    gaps: Floats = (whole.rewards - swapped.rewards)[:, 0]
    everywhere = np.ones(len(gaps), bool)
    spread = float(whole.rewards.std()) or 1.0
    return [
        swapped.accuracy("history of another", TABLE),
        _gain("what the right history adds", whole, swapped, everywhere),
        whole.share(
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


def _gain(name: str, whole: ScoredPairs, changed: ScoredPairs, among: Mask) -> Figure:
    """Return the accuracy on some pairs, less that on their probes."""
    both = [(whole.hits, among), (changed.hits, among)]
    return whole.of_means(name, TABLE, both, lambda means: means[:, 0] - means[:, 1], null=0.0)
