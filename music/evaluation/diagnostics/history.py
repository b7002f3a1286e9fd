"""Does the reward read the history? Pairs of several turns, as they are, with it cut, and with that of another."""

from collections.abc import Collection, Sequence

import numpy as np

from music.evaluation.benchmarks.types import Item, Scores
from music.evaluation.diagnostics.probes import CUT, SWAPPED, ProbedPairs
from music.evaluation.diagnostics.scored_pairs import Floats, Mask, ScoredPairs
from music.statistics import Figure

__all__ = ["history_figures"]

TABLE = "history"


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
