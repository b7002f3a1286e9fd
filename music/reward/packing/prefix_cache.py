"""`PrefixCache`: which tokens of earlier sequences are kept, and in which slots. It does not hold their states.

It is a tree of segments, as in SGLang's RadixAttention: a path from the root spells the beginning of sequences. Each
token of a segment has a slot, and the number of slots is bounded. When no slot is left, segments without children are
evicted, the least recently used first, but none that the current scoring uses.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

__all__ = ["CachedSegment", "PrefixCache", "num_common"]


@dataclass(eq=False, slots=True, kw_only=True)
class CachedSegment:
    """Consecutive tokens that are kept once.

    If a segment is split, it keeps its end, and its beginning becomes a new segment, its parent.

    Attributes:
        ids: Token ids.
        slots: The slot of each token.
        parent: The segment that it continues; None for the root, which has no tokens.
        stop: Number of tokens from the beginning of the sequence to the end of the segment.
        used: Number of the scoring that last used it.
        children: The segments that continue it, by their first token.
    """

    ids: tuple[int, ...] = ()
    slots: list[int] = field(default_factory=list)
    parent: "CachedSegment | None" = None
    stop: int = 0
    used: int = 0
    children: dict[int, "CachedSegment"] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of its tokens."""
        return len(self.ids)

    def path(self) -> tuple["CachedSegment", ...]:
        """Return the segments from the beginning of the sequence, itself last, without the root."""
        path, at = [], self
        while at.parent is not None:
            path.append(at)
            at = at.parent
        return tuple(reversed(path))


_Aged = tuple[int, int, int, CachedSegment]


class PrefixCache:
    """Tokens of earlier sequences and their slots.

    Attributes:
        max_tokens: Number of slots.
        boundary: Sequences of more tokens share nothing with shorter ones, because their model reads them in another
            way. None if it reads all sequences in the same way.
        num_slots: One more than the highest slot that was used.
    """

    def __init__(self, max_tokens: int, boundary: int | None = None) -> None:
        self.max_tokens = max_tokens
        self.boundary = boundary
        self.clear()

    def clear(self) -> None:
        """Empty the cache."""
        self.num_slots = 0
        self._roots = CachedSegment(), CachedSegment()
        self._free: list[int] = []
        self._now = 0
        # A heap of the segments without children, with one or more entries for each. An entry may be out of date: that
        # shows when it is the lowest. So a use costs nothing here, however many segments there are.
        self._by_age: list[_Aged] = []
        self._in_use: list[CachedSegment] = []

    def begin(self) -> None:
        """Begin a scoring: segments that it uses cannot be evicted until the next one begins."""
        self._now += 1
        for segment in self._in_use:
            heappush(self._by_age, _aged(segment))
        self._in_use.clear()

    def root(self, ids: tuple[int, ...]) -> CachedSegment:
        """Return the root of all sequences that are read in the same way; it has no tokens."""
        return self._roots[self.boundary is not None and len(ids) > self.boundary]

    def find(self, ids: tuple[int, ...]) -> CachedSegment:
        """Return the segment that ends the longest kept beginning of a sequence; the root if nothing is kept."""
        segment, at = self.root(ids), 0
        while at < len(ids) and (child := segment.children.get(ids[at])) is not None:
            own = ids[at : at + len(child)]
            common = len(child) if own == child.ids else num_common(child.ids, own)
            segment = child if common == len(child) else self._split(child, common)
            segment.used = self._now
            at += common
            if segment is not child:
                break
        return segment

    def add(self, ids: tuple[int, ...]) -> tuple[int, list[int]]:
        """Add as many tokens of a sequence as there is room for.

        Returns:
            How many of its first tokens were in the cache, and the slots of the tokens that follow.
        """
        segment = self.find(ids)
        slots = self._take(len(ids) - segment.stop)
        if slots:
            stop = segment.stop + len(slots)
            own = ids[segment.stop : stop]
            added = CachedSegment(ids=own, slots=slots, parent=segment, stop=stop, used=self._now)
            segment.children[own[0]] = added
            heappush(self._by_age, _aged(added))
        return segment.stop, slots

    def _split(self, segment: CachedSegment, at: int) -> CachedSegment:
        """Split a segment at an index; return the segment of its beginning."""
        assert segment.parent is not None
        stop = segment.stop - len(segment) + at
        upper = CachedSegment(
            ids=segment.ids[:at], slots=segment.slots[:at], parent=segment.parent, stop=stop, used=segment.used
        )
        upper.children[segment.ids[at]] = segment
        segment.parent.children[segment.ids[0]] = upper
        segment.ids, segment.slots, segment.parent = segment.ids[at:], segment.slots[at:], upper
        return upper

    def _take(self, num: int) -> list[int]:
        """Return up to this many slots; evict segments if there are too few."""
        while num > len(self._free) + self.max_tokens - self.num_slots and self._evict():
            pass
        taken = [self._free.pop() for _ in range(min(num, len(self._free)))]
        fresh = min(num - len(taken), self.max_tokens - self.num_slots)
        self.num_slots += fresh
        return taken + list(range(self.num_slots - fresh, self.num_slots))

    def _evict(self) -> bool:
        """Evict the least recently used segment without children; return whether there was one."""
        while self._by_age:
            used, *_, segment = heappop(self._by_age)
            parent = segment.parent
            if parent is None or segment.children:  # it was evicted, or is not at an end any more
                continue
            if segment.used == self._now:
                self._in_use.append(segment)
            elif segment.used > used:
                heappush(self._by_age, _aged(segment))
            else:
                self._remove(segment, parent)
                return True
        return False

    def _remove(self, segment: CachedSegment, parent: CachedSegment) -> None:
        self._free += segment.slots
        del parent.children[segment.ids[0]]
        segment.parent = None
        if not parent.children and parent.parent is not None:
            heappush(self._by_age, _aged(parent))


def _aged(segment: CachedSegment) -> _Aged:
    """Return a key that sorts segments by last use; among those used together, the longest path comes first."""
    return segment.used, -segment.stop, id(segment), segment


def num_common(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two sequences share at their beginning."""
    low, high = 0, min(len(first), len(second))
    while low < high:  # slices compare in C, so halving beats a loop over the tokens
        middle = (low + high + 1) // 2
        low, high = (middle, high) if first[low:middle] == second[low:middle] else (low, middle - 1)
    return low
