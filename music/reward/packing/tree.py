"""`PrefixTree`: the sequences of a group, with their shared beginnings stored once.

A path from a root to a segment spells a prefix of a sequence. The logical position of a token is its place on that
path. Sharing a segment saves computing its tokens again, and costs one more segment in every attention layer. So a
segment is shared only if that saves at least `min_saved` tokens.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import NamedTuple, Self

import numpy as np

__all__ = ["MIN_SAVED", "PrefixTree", "Segment", "TokenSequence", "families", "join"]

MIN_SAVED = 24
"""Fewest tokens that sharing a segment must save; training small models on the CPU breaks even at about 20."""


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """One conversation as tokens.

    Attributes:
        ids: Token ids; at least one.
        reads: Rising indices of the tokens at which rewards are read.
    """

    ids: Sequence[int]
    reads: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check the indices."""
        rising = all(a < b for a, b in zip(self.reads, self.reads[1:], strict=False))
        if not self.ids or not rising or (self.reads and not 0 <= self.reads[0] <= self.reads[-1] < len(self.ids)):
            raise ValueError(f"expected rising indices of {len(self.ids)} tokens, got {self.reads}")

    @classmethod
    def read_at_end(cls, ids: Sequence[int]) -> Self:
        """Return a sequence whose reward is read at its last token."""
        return cls(ids, (len(ids) - 1,))


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive tokens that are stored once.

    Attributes:
        parent: Index of the segment that it continues, which is lower than its own; None for a sequence's first stored
            segment.
        position: Logical position of its first token.
        ids: Token ids; at least one.
    """

    parent: int | None
    position: int
    ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class PrefixTree:
    """A group of sequences as segments.

    Attributes:
        segments: The segments, depth first: each comes after its parent.
        leaves: For each sequence, the segment in which it ends.
        reads: For each sequence, the logical positions at which rewards are read.
    """

    segments: tuple[Segment, ...]
    leaves: tuple[int, ...]
    reads: tuple[tuple[int, ...], ...]

    @classmethod
    def grow(
        cls, group: Sequence[TokenSequence], min_saved: int | None = MIN_SAVED, num_cached: int = 0
    ) -> "PrefixTree":
        """Store a group's common prefixes once.

        Args:
            group: At least one sequence.
            min_saved: Fewest tokens that sharing a segment must save; None to share nothing.
            num_cached: Number of first tokens of all sequences that a cache holds; each sequence has more.

        Raises:
            ValueError: The group is empty.
        """
        if not group:
            raise ValueError("expected a group of at least one sequence, got none")
        grower = _Grower(group, min_saved)
        grower.grow(num_cached)
        return cls(tuple(grower.segments), tuple(grower.leaves), tuple(sequence.reads for sequence in group))

    @property
    def num_tokens(self) -> int:
        """Number of stored tokens."""
        return sum(len(segment.ids) for segment in self.segments)

    def path(self, segment: int) -> list[int]:
        """Return the path from the root to a segment, itself last."""
        path: list[int] = []
        at: int | None = segment
        while at is not None:
            path.append(at)
            at = self.segments[at].parent
        return path[::-1]


class _Branch(NamedTuple):
    """Sequences in lexicographic order that are equal up to `depth`, where `parent` ends."""

    members: list[int]
    depth: int
    parent: int | None


class _Grower:
    """Builds the segments of a `PrefixTree`."""

    def __init__(self, group: Sequence[TokenSequence], min_saved: int | None) -> None:
        self._ids = [np.asarray(sequence.ids) for sequence in group]
        self._min_saved = min_saved
        self.segments: list[Segment] = []
        self.leaves = [-1] * len(group)

    def grow(self, num_cached: int) -> None:
        """Store what follows the cached tokens, branch by branch in lexicographic order."""
        whole = _Branch(sorted(range(len(self._ids)), key=lambda i: self._ids[i].tolist()), num_cached, None)
        pending = [whole]
        while pending:
            branch = pending.pop()
            if self._min_saved is None or len(branch.members) == 1:
                for index in branch.members:
                    self._end(index, branch)
            else:
                pending.extend(reversed(self._split(branch, self._min_saved)))

    def _split(self, branch: _Branch, min_saved: int) -> list[_Branch]:
        """Store what all members share if that saves enough, end those that end there, and split the others."""
        members, depth, parent = branch
        common = self._common(members[0], members[-1])
        if (common - depth) * (len(members) - 1) >= max(min_saved, 1):
            parent, depth = self._add(members[0], depth, common, parent), common
        branches = []
        for _, equal in groupby(members, lambda i: self._ids[i][common : common + 1].tolist()):
            parted = _Branch(list(equal), depth, parent)
            if len(self._ids[parted.members[0]]) > common:
                branches.append(parted)
            else:
                for index in parted.members:
                    self._end(index, parted)
        return branches

    def _common(self, first: int, last: int) -> int:
        """Return how many tokens two sequences share; for the ends of a sorted range, what all of it shares."""
        length = min(len(self._ids[first]), len(self._ids[last]))
        differing = np.flatnonzero(self._ids[first][:length] != self._ids[last][:length])
        return int(differing[0]) if len(differing) else length

    def _end(self, index: int, branch: _Branch) -> None:
        """Store the rest of a sequence, if there is any."""
        length = len(self._ids[index])
        if branch.parent is not None and length == branch.depth:
            self.leaves[index] = branch.parent
        else:
            self.leaves[index] = self._add(index, branch.depth, length, branch.parent)

    def _add(self, index: int, start: int, stop: int, parent: int | None) -> int:
        self.segments.append(Segment(parent, start, self._ids[index][start:stop].tolist()))
        return len(self.segments) - 1


def families(trees: Sequence[PrefixTree], min_length: int) -> list[list[int]]:
    """Group trees that begin alike, in order of first appearance; return their indices.

    Args:
        trees: Trees that do not follow cached tokens.
        min_length: Number of first tokens that the trees of a family share. A tree whose root has no more tokens stays
            alone.
    """
    found: dict[Hashable, list[int]] = defaultdict(list)
    for index, tree in enumerate(trees):
        root = tree.segments[0].ids
        is_alone = len(root) <= min_length or any(segment.parent is None for segment in tree.segments[1:])
        found[index if is_alone else tuple(root[:min_length])].append(index)
    return list(found.values())


def join(trees: Sequence[PrefixTree]) -> PrefixTree:
    """Return one tree with the sequences of several trees, in order; each has one root, and all begin alike."""
    if len(trees) == 1:
        return trees[0]
    # Each root keeps at least one token of its own, so that the segments below it do not change.
    columns = zip(*(tree.segments[0].ids[:-1] for tree in trees), strict=False)
    shared = [column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)]
    segments = [Segment(None, 0, shared)]
    leaves: list[int] = []
    for tree in trees:
        offset = len(segments)
        segments += [
            Segment(0, len(shared), segment.ids[len(shared) :])
            if segment.parent is None
            else Segment(segment.parent + offset, segment.position, segment.ids)
            for segment in tree.segments
        ]
        leaves += [leaf + offset for leaf in tree.leaves]
    return PrefixTree(tuple(segments), tuple(leaves), tuple(reads for tree in trees for reads in tree.reads))
