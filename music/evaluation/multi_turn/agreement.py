"""Agreement of numbers with labels: over all turns, and conversation by conversation.

`conversations` says which conversation each turn belongs to, by number from 0, rising and without gaps.
"""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from music.statistics import CONFIDENCE, Estimate, accuracy

__all__ = ["area_under_curve", "rank_correlations", "worst_found"]

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


def area_under_curve(numbers: Floats, is_good: NDArray[np.bool_], clusters: Codes) -> Estimate:
    """Estimate how often a good turn has a higher number than a bad one, a tie half, whatever their conversations.

    The interval is from the variance of clustered placements (Obuchowski 1997; DeLong 1988 without clusters). Where
    every number of one kind is above every one of the other, nothing varies, and it is Wilson's over the clusters. A
    single cluster of good turns, or of bad ones, leaves it open.

    Args:
        numbers: One for each turn; shape `[turns]`.
        is_good: Which turns are good; there must be some of either kind; shape `[turns]`.
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
        return accuracy(np.full(num, area), np.zeros(num))
    half = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt(num / (num - 1) * float(moves @ moves))
    return Estimate(area, max(0.0, area - half), min(1.0, area + half), num)


def rank_correlations(conversations: Codes, numbers: Floats, labels: Floats) -> Floats:
    """Return Spearman's correlation within each conversation, of which the labels must differ; shape `[conversations]`.

    It is 0 where the numbers are all the same, as they rank nothing.
    """
    first, second = (_centred_ranks(conversations, values) for values in (numbers, labels))
    together, own, others = (np.bincount(conversations, product) for product in (first * second, first**2, second**2))
    return np.asarray(together / np.sqrt(np.where(own > 0, own, 1) * others))


def worst_found(conversations: Codes, numbers: Floats, labels: Floats) -> tuple[Floats, Floats]:
    """Return whether the turn with the lowest number has the lowest label, and how often a random turn has it.

    Of several turns with the lowest number one is taken at random, so that a tie counts its share of right ones. Both
    of shape `[conversations]`.
    """
    is_lowest, is_worst = (_is_lowest(conversations, values) for values in (numbers, labels))
    found = np.bincount(conversations, is_lowest & is_worst) / np.bincount(conversations, is_lowest)
    return found, np.bincount(conversations, is_worst) / np.bincount(conversations)


def _share_below(values: Floats, others: Floats) -> Floats:
    ordered = np.sort(others)
    sides = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return np.asarray(sides / (2 * len(others)))


def _centred_ranks(conversations: Codes, values: Floats) -> Floats:
    """Return each value's rank within its conversation, less the mean rank."""
    from scipy.stats import rankdata

    _, codes = np.unique(values, return_inverse=True)
    own = rankdata(conversations * (int(codes.max()) + 1) + codes)  # those of one conversation stand together
    sizes = np.bincount(conversations)
    return np.asarray(own - (np.bincount(conversations, own) / sizes)[conversations])


def _is_lowest(conversations: Codes, values: Floats) -> NDArray[np.bool_]:
    starts = np.flatnonzero(np.diff(conversations, prepend=-1))
    return np.asarray(values == np.minimum.reduceat(values, starts)[conversations])
