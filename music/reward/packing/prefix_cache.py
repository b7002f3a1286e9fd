"""`PrefixCache`: which tokens of earlier sequences are kept, and in which slots. It holds no states of its own.

A tree of segments, in which a path from the root spells the beginning of sequences, as in SGLang's RadixAttention. Each
token of a segment has a slot, and the number of slots is bounded. When no slot is left, segments that nothing continues
are given up, the least recently used first, and never one that was used in the same scoring.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

__all__ = ["CachedSegment", "PrefixCache", "num_common"]


@dataclass(eq=False, slots=True, kw_only=True)
class CachedSegment:
    """Consecutive tokens that are kept once.

    A segment that is split keeps its end: what comes before becomes a segment of its own, its parent.

    Attributes:
        ids: Token ids.
        slots: Their slots, one for each.
        parent: The segment that it continues; None for the root, which has no tokens.
        stop: Number of tokens from the beginning of the sequence to the end of the segment.
        used: The scoring in which it was last used.
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

    Sequences of more than `boundary` tokens share nothing with shorter ones: their model reads them in another way.

    Attributes:
        max_tokens: The number of slots.
        boundary: See above; None if all sequences are read in the same way.
        num_slots: One more than the highest slot used so far.
    """

    def __init__(self, max_tokens: int, boundary: int | None = None) -> None:
        self.max_tokens = max_tokens
        self.boundary = boundary
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.num_slots = 0
        self._roots = CachedSegment(), CachedSegment()
        self._free: list[int] = []
        self._now = 0
        self._idle: list[_Aged] | None = None

    def begin(self) -> None:
        """Begin a scoring: segments used before it may be given up, segments used in it may not."""
        self._now += 1
        self._idle = None

    def root(self, ids: tuple[int, ...]) -> CachedSegment:
        """Return the root of all sequences that are read in the same way as this one; it has no tokens."""
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
        """Keep a sequence, as far as there is room.

        Returns:
            How many of its first tokens were kept already, and the slots of the tokens that follow.
        """
        segment = self.find(ids)
        slots = self._take(len(ids) - segment.stop)
        if slots:
            stop = segment.stop + len(slots)
            own = ids[segment.stop : stop]
            segment.children[own[0]] = CachedSegment(ids=own, slots=slots, parent=segment, stop=stop, used=self._now)
        return segment.stop, slots

    def _split(self, segment: CachedSegment, at: int) -> CachedSegment:
        """Split a segment; return what comes before."""
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
        """Return up to this many slots; give up segments if slots are short."""
        while num > len(self._free) + self.max_tokens - self.num_slots and self._evict():
            pass
        taken = [self._free.pop() for _ in range(min(num, len(self._free)))]
        fresh = min(num - len(taken), self.max_tokens - self.num_slots)
        self.num_slots += fresh
        return taken + list(range(self.num_slots - fresh, self.num_slots))

    def _evict(self) -> bool:
        """Give up the least recently used segment that nothing continues; return whether there was one."""
        if self._idle is None:
            self._idle = [
                _by_age(segment) for segment in self._segments() if not segment.children and segment.used < self._now
            ]
            heapify(self._idle)
        while self._idle:
            segment = heappop(self._idle)[-1]
            if segment.used == self._now or segment.children or segment.parent is None:  # used since
                continue
            self._free += segment.slots
            del segment.parent.children[segment.ids[0]]
            if not segment.parent.children:
                heappush(self._idle, _by_age(segment.parent))
            return True
        return False

    def _segments(self) -> Iterator[CachedSegment]:
        pending = list(self._roots)
        while pending:
            segment = pending.pop()
            pending += segment.children.values()
            yield segment


def _by_age(segment: CachedSegment) -> _Aged:
    """Return a key that sorts segments by last use; among those used together, the longest path comes first."""
    return segment.used, -segment.stop, id(segment), segment


def num_common(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two sequences share at their beginning."""
    low, high = 0, min(len(first), len(second))
    while low < high:  # slices compare in C, so halving beats a loop over the tokens
        middle = (low + high + 1) // 2
        low, high = (middle, high) if first[low:middle] == second[low:middle] else (low, middle - 1)
    return low
