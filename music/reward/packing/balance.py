"""Sizes into bins of about the same load: the largest first, each to the emptiest bin, then exchanges between bins."""

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heapreplace

__all__ = ["balance"]


@dataclass(slots=True)
class _Bin:
    load: int = 0
    items: list[int] = field(default_factory=list)


def balance(sizes: Sequence[int], limit: int) -> list[list[int]]:
    """Deal indices out to as few bins as are found to do, the fullest first.

    Args:
        sizes: Of the items.
        limit: Bound on a bin's load, or the largest size if that is more.
    """
    if not sizes:
        return []
    limit = max(limit, max(sizes))
    num_bins = -(-sum(sizes) // limit)
    while (bins := _dealt(sizes, num_bins))[-1].load > limit:
        num_bins += 1
    return [sorted(each.items) for each in reversed(bins)]


def _dealt(sizes: Sequence[int], num_bins: int) -> list[_Bin]:
    """Deal indices out to so many bins, the emptiest first."""
    bins = [_Bin() for _ in range(num_bins)]
    emptiest = [(0, index) for index in range(num_bins)]
    for item in sorted(range(len(sizes)), key=lambda item: -sizes[item]):
        load, index = emptiest[0]
        bins[index].items.append(item)
        bins[index].load = load + sizes[item]
        heapreplace(emptiest, (bins[index].load, index))
    bins.sort(key=lambda each: each.load)
    while _exchange(bins, sizes):
        pass
    return bins


def _exchange(bins: list[_Bin], sizes: Sequence[int]) -> bool:
    """Relieve the fullest bin in favour of the emptiest that can help, and keep the order; say whether one could.

    Every exchange brings two loads closer together, so there is an end to it.
    """
    fullest = bins[-1]
    for place, other in enumerate(bins[:-1]):
        gap = fullest.load - other.load
        # What moves over is an item, or the difference of two; moving half the gap would even the two out.
        options = [(abs(gap - 2 * sizes[a]), a, -1) for a in fullest.items]
        options += [(abs(gap - 2 * (sizes[a] - sizes[b])), a, b) for a in fullest.items for b in other.items]
        left, given, taken = min(options)
        if left < gap:
            del bins[-1], bins[place]
            _move(fullest, other, given, sizes)
            if taken >= 0:
                _move(other, fullest, taken, sizes)
            for each in (fullest, other):
                insort(bins, each, key=lambda each: each.load)
            return True
    return False


def _move(source: _Bin, target: _Bin, item: int, sizes: Sequence[int]) -> None:
    source.items.remove(item)
    source.load -= sizes[item]
    target.items.append(item)
    target.load += sizes[item]
