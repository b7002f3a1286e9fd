"""Packing groups into rows: one sequence dimension, no padding, about the same number of tokens in each row.

A row is `[tree | tree | ...]` and a tree `[segment | segment | ...]`. A group stays within one row, so that a loss
over its rewards needs one forward pass. Groups of a row that begin alike share one tree.
"""

from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heapreplace
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from music.reward.packing.tree import MIN_SAVED, PrefixTree, TokenSequence, families, join

__all__ = ["PackedRow", "RowPlan", "plan_rows"]

T = TypeVar("T")

CACHED_PER_TOKEN = 16
"""Number of cached tokens that count as one computed token in a row: only one layer's keys and values at a time are
gathered."""


@dataclass(frozen=True)
class PackedRow:
    """Groups that go through the model in one forward pass.

    Attributes:
        groups: Index of each group among those that were planned.
        sizes: Number of sequences in each group.
        trees: The sequences of the groups, in the order of the row.
    """

    groups: tuple[int, ...]
    sizes: tuple[int, ...]
    trees: tuple[PrefixTree, ...]

    @cached_property
    def num_tokens(self) -> int:
        """Number of tokens in the row."""
        return sum(tree.num_tokens for tree in self.trees)

    @cached_property
    def starts(self) -> list[list[int]]:
        """The index in the row of each segment's first token, by tree."""
        starts, at = [], 0
        for tree in self.trees:
            begun = []
            for segment in tree.segments:
                begun.append(at)
                at += len(segment.ids)
            starts.append(begun)
        return starts

    def input_ids(self) -> Tensor:
        """Return the token ids, `[num_tokens]`."""
        return torch.tensor([token for tree in self.trees for segment in tree.segments for token in segment.ids])

    def positions(self) -> Tensor:
        """Return the logical position of each token, `[num_tokens]`."""
        spans = [(s.position, s.position + len(s.ids)) for tree in self.trees for s in tree.segments]
        return torch.cat([torch.arange(start, stop) for start, stop in spans])

    def places(self) -> list[list[Tensor]]:
        """Return the indices in the row of each sequence's stored tokens, by group and sequence."""
        return self._by_group(self._places())

    def reads(self) -> Tensor:
        """Return the index in the row of each reward: by group, sequence and read, `[num_reads]`."""
        reads = [(tree.segments[0].position, reads) for tree in self.trees for reads in tree.reads]
        return torch.cat(
            [
                own[torch.tensor(positions, dtype=torch.long) - num_cached]
                for own, (num_cached, positions) in zip(self._places(), reads, strict=True)
            ]
        )

    def split(self, rewards: Tensor) -> list[list[Tensor]]:
        """Return the rewards `[num_reads]` at `reads` by group and sequence."""
        num_reads = [len(reads) for tree in self.trees for reads in tree.reads]
        return self._by_group(torch.split(rewards, num_reads))

    def _by_group(self, items: Iterable[T]) -> list[list[T]]:
        """Group items, one for each sequence."""
        left = iter(items)
        return [list(islice(left, size)) for size in self.sizes]

    def _places(self) -> Iterator[Tensor]:
        for tree, starts in zip(self.trees, self.starts, strict=True):
            spans = [torch.arange(at, at + len(s.ids)) for at, s in zip(starts, tree.segments, strict=True)]
            yield from (torch.cat([spans[segment] for segment in tree.path(leaf)]) for leaf in tree.leaves)


@dataclass(frozen=True, slots=True)
class RowPlan:
    """Groups distributed over rows.

    Attributes:
        rows: The rows, each with at least one group.
        num_sequence_tokens: Number of tokens of all sequences; shared tokens count once for each sequence.
    """

    rows: tuple[PackedRow, ...]
    num_sequence_tokens: int

    @property
    def num_tokens(self) -> int:
        """Number of stored tokens."""
        return sum(row.num_tokens for row in self.rows)

    @property
    def fill(self) -> float:
        """Mean length of the rows as a share of the longest; 1 if there are no rows."""
        longest = max((row.num_tokens for row in self.rows), default=0)
        return self.num_tokens / (len(self.rows) * longest) if self.rows else 1.0


def plan_rows(
    groups: Sequence[Sequence[TokenSequence]],
    max_tokens: int,
    *,
    min_saved: int | None = MIN_SAVED,
    num_cached: Sequence[int] | None = None,
) -> RowPlan:
    """Pack groups into as few rows as possible, of about the same length, the longest first.

    Args:
        groups: Groups of sequences. Shared prefixes are found within a group.
        max_tokens: Bound on a row's tokens. If the largest group is longer, its length is the bound for all rows.
            `RowPlan.fill` is over 0.97 with several groups to a row, and less if groups are about as long as a row.
        min_saved: Fewest tokens that sharing a segment must save; None to share nothing. Groups of a row also share
            their beginning if it has at least this many equal tokens.
        num_cached: For each group, how many first tokens of its sequences a cache holds. These are not stored, and
            `CACHED_PER_TOKEN` of them count as one for the bound. Groups then share nothing with each other.
    """
    before = num_cached or [0] * len(groups)
    trees = [PrefixTree.grow(group, min_saved, num) for group, num in zip(groups, before, strict=True)]
    sizes = [tree.num_tokens + num // CACHED_PER_TOKEN for tree, num in zip(trees, before, strict=True)]
    min_length = min_saved if num_cached is None else None
    rows = [_row(row, [trees[i] for i in row], min_length) for row in balance(sizes, max_tokens)]
    return RowPlan(tuple(rows), sum(len(sequence.ids) for group in groups for sequence in group))


def _row(groups: Sequence[int], trees: Sequence[PrefixTree], min_length: int | None) -> PackedRow:
    """Return a row of groups; those that begin alike share a tree."""
    alike = [[i] for i in range(len(trees))] if min_length is None else families(trees, max(min_length, 1))
    order = [i for family in alike for i in family]
    return PackedRow(
        groups=tuple(groups[i] for i in order),
        sizes=tuple(len(trees[i].leaves) for i in order),
        trees=tuple(join([trees[i] for i in family]) for family in alike),
    )


@dataclass(slots=True)
class _Bin:
    load: int = 0
    items: list[int] = field(default_factory=list)


def balance(sizes: Sequence[int], limit: int) -> list[list[int]]:
    """Distribute items over few bins of about the same load; return their indices by bin, the fullest bin first.

    Each item, the largest first, is put into the emptiest bin. Then bins exchange items.

    Args:
        sizes: The sizes of the items.
        limit: Bound on a bin's load, or the largest size if that is more.
    """
    if not sizes:
        return []
    limit = max(limit, max(sizes))
    num_bins = -(-sum(sizes) // limit)
    while (bins := _distribute(sizes, num_bins))[-1].load > limit:
        num_bins += 1
    return [sorted(each.items) for each in reversed(bins)]


def _distribute(sizes: Sequence[int], num_bins: int) -> list[_Bin]:
    """Distribute items over this many bins; the emptiest comes first."""
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
    """Move load from the fullest bin to the emptiest bin that can take some; return whether load was moved.

    Every exchange brings two loads closer together, so the exchanges end.
    """
    fullest = bins[-1]
    for place, other in enumerate(bins[:-1]):
        gap = fullest.load - other.load
        # An item moves over, or two are swapped; moving half the gap would balance the two bins.
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
