"""The agreement of rewards of turns with labels of turns: over all turns, and within each conversation.

`LabelledTurns` holds the turns of scored conversations as arrays. In the functions, `conversations` holds the number of
each turn's conversation, in ascending order from 0 and without gaps.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from music.evaluation.benchmarks.scored import Floats, Places, ScoredItems
from music.statistics import Estimate, proportion, quantile_t

__all__ = ["LabelledTurns", "area_under_curve", "changes", "rank_correlations", "worst_found"]


def area_under_curve(numbers: Floats, is_good: NDArray[np.bool_], clusters: Places) -> Estimate:
    """Estimate how often a good turn has a higher number than a bad one, over all conversations; ties count half.

    The interval comes from the variance of clustered placements (Obuchowski 1997; DeLong 1988 without clusters). If all
    good turns are above all bad ones, or below, nothing varies, and the interval is Wilson's over the clusters. If all
    good turns, or all bad ones, are in one cluster, the interval is infinite.

    Args:
        numbers: A number for each turn; shape `[turns]`.
        is_good: Whether each turn is good; there must be good and bad ones; shape `[turns]`.
        clusters: The unit that each turn belongs to; shape `[turns]`.
    """
    good, bad = numbers[is_good], numbers[~is_good]
    placements = np.empty(len(numbers))
    placements[is_good], placements[~is_good] = _share_below(good, bad), 1 - _share_below(bad, good)
    area = float(placements[is_good].mean())
    codes = np.unique(clusters, return_inverse=True)[1]
    moves = np.bincount(codes, (placements - area) / np.where(is_good, len(good), len(bad)))
    num = len(moves)
    if min(len(np.unique(codes[is_good])), len(np.unique(codes[~is_good]))) == 1:
        return Estimate(area, -math.inf, math.inf, num)
    if area in (0, 1):
        return proportion(np.full(num, area))
    half = quantile_t(num - 1) * math.sqrt(num / (num - 1) * float(moves @ moves))
    return Estimate(area, max(0.0, area - half), min(1.0, area + half), num)


def rank_correlations(conversations: Places, numbers: Floats, labels: Floats) -> Floats:
    """Return Spearman's correlation within each conversation; shape `[conversations]`.

    Each conversation must have labels that differ. The correlation is 0 where the numbers are all the same.
    """
    first, second = (_centred_ranks(conversations, values) for values in (numbers, labels))
    together, own, others = (np.bincount(conversations, product) for product in (first * second, first**2, second**2))
    return np.asarray(together / np.sqrt(np.where(own > 0, own, 1) * others))


def worst_found(conversations: Places, numbers: Floats, labels: Floats) -> tuple[Floats, Floats]:
    """Return whether the turn with the lowest number has the lowest label, and the chance that a random turn has it.

    If several turns have the lowest number, the result is the share of them with the lowest label. Both have shape
    `[conversations]`.
    """
    is_lowest, is_worst = (_is_lowest(conversations, values) for values in (numbers, labels))
    found = np.bincount(conversations, is_lowest & is_worst) / np.bincount(conversations, is_lowest)
    return found, np.bincount(conversations, is_worst) / np.bincount(conversations)


def _share_below(values: Floats, others: Floats) -> Floats:
    ordered = np.sort(others)
    sides = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return np.asarray(sides / (2 * len(others)))


def _centred_ranks(conversations: Places, values: Floats) -> Floats:
    """Return each value's rank within its conversation, less the mean rank."""
    _, codes = np.unique(values, return_inverse=True)
    own = rankdata(conversations * (int(codes.max()) + 1) + codes)  # the ranks of one conversation are consecutive
    sizes = np.bincount(conversations)
    return np.asarray(own - (np.bincount(conversations, own) / sizes)[conversations])


def _is_lowest(conversations: Places, values: Floats) -> NDArray[np.bool_]:
    starts = np.flatnonzero(np.diff(conversations, prepend=-1))
    return np.asarray(values == np.minimum.reduceat(values, starts)[conversations])


def changes(scored: ScoredItems) -> Floats:
    """Return each completion's score minus that of the one before it in its item; NaN for the first."""
    changed = np.diff(scored.scores, prepend=np.nan)
    changed[scored.starts] = np.nan
    return changed


@dataclass(frozen=True, slots=True, eq=False)
class LabelledTurns:
    """Turns that have a label and a reward, ordered by conversation; all arrays have shape `[turns]`.

    Attributes:
        items: The place of each turn's conversation.
        prompts: The number of each turn's prompt.
        numbers: The number of each turn in its conversation, from 1.
        followers: The number of turns that follow each turn.
        labels: How good each turn is, from 0 to 1.
        rewards: The reward of each turn, in one of the two readings.
    """

    items: Places
    prompts: Places
    numbers: Places
    followers: Places
    labels: Floats
    rewards: Floats

    @classmethod
    def of(cls, scored: ScoredItems, rewards: Floats) -> Self:
        """Return the turns of items whose completions are prefixes of one conversation.

        Args:
            scored: The items.
            rewards: The rewards of all completions, NaN for a completion without one; shape `[completions]`.
        """
        items = np.repeat(scored.places, np.diff(np.append(scored.starts, len(scored.scores))))
        numbers = np.arange(len(items)) - scored.starts[items] + 1
        followers = np.bincount(items)[items] - numbers
        labels = np.concatenate([item.labels for item in scored.items])
        prompts = np.unique([item.prompt_id for item in scored.items], return_inverse=True)[1].astype(np.int64)[items]
        turns = cls(items, prompts, numbers, followers, labels, rewards)
        return turns.where(np.isfinite(labels) & np.isfinite(rewards))

    def __len__(self) -> int:
        """The number of turns."""
        return len(self.items)

    def where(self, mask: NDArray[np.bool_]) -> Self:
        """Return the turns that a mask of shape `[turns]` selects."""
        places = (self.items[mask], self.prompts[mask], self.numbers[mask], self.followers[mask])
        return type(self)(*places, self.labels[mask], self.rewards[mask])

    @property
    def conversations(self) -> Places:
        """The number of each turn's conversation, from 0 and without gaps."""
        return np.cumsum(np.diff(self.items, prepend=-1) > 0) - 1

    @property
    def is_worst(self) -> NDArray[np.bool_]:
        """Whether no turn of the conversation has a lower label."""
        return np.asarray(self.labels == self.fold(np.minimum, self.labels))

    def fold(self, ufunc: np.ufunc, per_turn: Floats) -> Floats:
        """Return the numbers of each conversation reduced to one, repeated for each of its turns."""
        starts = np.flatnonzero(np.diff(self.items, prepend=-1))
        return np.asarray(ufunc.reduceat(per_turn, starts)[self.conversations]) if len(self) else per_turn

    def of_unlike_labels(self) -> Self:
        """Return the turns of the conversations whose labels differ."""
        return self.where(self.fold(np.minimum, self.labels) < self.fold(np.maximum, self.labels))

    def of_one_worst(self) -> Self:
        """Return the turns of the conversations in which a single turn has the lowest label."""
        return self.where(self.fold(np.add, self.is_worst.astype(np.float64)) == 1)
