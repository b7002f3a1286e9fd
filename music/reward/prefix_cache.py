"""`PrefixCache`: which tokens of earlier sequences are kept, and in which slots; what is kept of them lies elsewhere.

A tree of spans, in which a path from the root spells the beginning of sequences (as in SGLang's RadixAttention). The
tokens of a span stand in slots, of which there are so many. Where there is no slot left, spans that nothing goes on
from are given up, the least recently used first, and never one that was used in the same scoring.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from music.reward.grouping import num_common

__all__ = ["PrefixCache", "Span"]


@dataclass(eq=False, slots=True, kw_only=True)
class Span:
    """Consecutive tokens that stand once.

    A span that is parted keeps its end: what went before becomes a span of its own, its parent.

    Attributes:
        ids: Token ids.
        slots: Where they are, one for each.
        parent: The span that it goes on from; None for the root, which has no tokens.
        stop: Tokens from the beginning of the sequence up to its end.
        used: The scoring in which it was last used.
        children: The spans that go on from it, by their first token.
    """

    ids: tuple[int, ...] = ()
    slots: list[int] = field(default_factory=list)
    parent: "Span | None" = None
    stop: int = 0
    used: int = 0
    children: dict[int, "Span"] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of its tokens."""
        return len(self.ids)

    def path(self) -> tuple["Span", ...]:
        """Return the spans from the beginning of the sequence, itself last, without the root."""
        path, at = [], self
        while at.parent is not None:
            path.append(at)
            at = at.parent
        return tuple(reversed(path))


_Aged = tuple[int, int, int, Span]


class PrefixCache:
    """Tokens of earlier sequences and their slots.

    Sequences of more than `boundary` tokens share nothing with shorter ones: their model reads them in another way.

    Attributes:
        max_tokens: How many slots there are; 0 to keep nothing.
        boundary: See above; None where all sequences are read in the same way.
        num_slots: Slots used so far, the highest number of one plus 1.
    """

    def __init__(self, max_tokens: int, boundary: int | None = None) -> None:
        self.max_tokens = max_tokens
        self.boundary = boundary
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.num_slots = 0
        self._roots = Span(), Span()
        self._free: list[int] = []
        self._now = 0
        self._idle: list[_Aged] | None = None

    def begin(self) -> None:
        """Begin a scoring: what was used before it may be given up, what is used in it may not."""
        self._now += 1
        self._idle = None

    def root(self, ids: tuple[int, ...]) -> Span:
        """Return the beginning of all sequences that are read as this one is; it has no tokens."""
        return self._roots[self.boundary is not None and len(ids) > self.boundary]

    def find(self, ids: tuple[int, ...]) -> Span:
        """Return the span with which the longest kept beginning of a sequence ends; the root for none."""
        span, at = self.root(ids), 0
        while at < len(ids) and (child := span.children.get(ids[at])) is not None:
            own = ids[at : at + len(child)]
            common = len(child) if own == child.ids else num_common(child.ids, own)
            span = child if common == len(child) else self._part(child, common)
            span.used = self._now
            at += common
            if span is not child:
                break
        return span

    def add(self, ids: tuple[int, ...]) -> tuple[int, list[int]]:
        """Keep a sequence, as far as there is room for it.

        Returns:
            How many of its first tokens were kept already, and the slots of those that follow.
        """
        span = self.find(ids)
        slots = self._take(len(ids) - span.stop)
        if slots:
            stop = span.stop + len(slots)
            own = ids[span.stop : stop]
            span.children[own[0]] = Span(ids=own, slots=slots, parent=span, stop=stop, used=self._now)
        return span.stop, slots

    def _part(self, span: Span, at: int) -> Span:
        """Part a span; return what stands before."""
        assert span.parent is not None
        stop = span.stop - len(span) + at
        upper = Span(ids=span.ids[:at], slots=span.slots[:at], parent=span.parent, stop=stop, used=span.used)
        upper.children[span.ids[at]] = span
        span.parent.children[span.ids[0]] = upper
        span.ids, span.slots, span.parent = span.ids[at:], span.slots[at:], upper
        return upper

    def _take(self, num: int) -> list[int]:
        """Return as many slots, or as few, as there are."""
        while num > len(self._free) + self.max_tokens - self.num_slots and self._evict():
            pass
        taken = [self._free.pop() for _ in range(min(num, len(self._free)))]
        fresh = min(num - len(taken), self.max_tokens - self.num_slots)
        self.num_slots += fresh
        return taken + list(range(self.num_slots - fresh, self.num_slots))

    def _evict(self) -> bool:
        """Give up the least recently used span that nothing goes on from; say whether there was one."""
        if self._idle is None:
            self._idle = [_by_age(span) for span in self._spans() if not span.children and span.used < self._now]
            heapify(self._idle)
        while self._idle:
            span = heappop(self._idle)[-1]
            if span.used == self._now or span.children or span.parent is None:  # used since
                continue
            self._free += span.slots
            del span.parent.children[span.ids[0]]
            if not span.parent.children:
                heappush(self._idle, _by_age(span.parent))
            return True
        return False

    def _spans(self) -> Iterator[Span]:
        pending = list(self._roots)
        while pending:
            span = pending.pop()
            pending += span.children.values()
            yield span


def _by_age(span: Span) -> _Aged:
    """Return what sorts spans by when they were used; of those used at once, the longest path goes first."""
    return span.used, -span.stop, id(span), span
