"""`SegmentTable`: which keys each stretch of queries sees, for every attention back-end.

The keys that a segment sees lie on its path from the root. Gathered in the path's order they stand at the logical
positions 0, 1, ..., and the segment's own tokens are the last of them. So attention within a packed row is plain causal
attention of the last queries of a shorter sequence, and a sliding window counts logical positions by itself. On indices
of the packed row both would be wrong, in silence.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from music.errors import InvalidInputError
from music.reward.packing import PackedRow

__all__ = ["PackedAttentionError", "SegmentTable", "Stretch"]

T = TypeVar("T")


class PackedAttentionError(InvalidInputError):
    """A model's attention cannot be told, or was not told, who sees whom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """One segment's part in attention.

    Attributes:
        start: Of its queries in the row.
        stop: Likewise.
        position: Logical position of its first query: the keys before it, cached ones included.
        path: Stretches that it sees, from the root, itself last.
        num_below: Stretches that go on from it, directly or not; they follow it without a gap.
    """

    start: int
    stop: int
    position: int
    path: tuple[int, ...]
    num_below: int

    @property
    def num_queries(self) -> int:
        """Tokens of the segment."""
        return self.stop - self.start

    @property
    def num_keys(self) -> int:
        """Keys that its last query sees, where no window bounds it."""
        return self.position + self.num_queries


class SegmentTable:
    """The segments of a row for attention.

    It is no dataclass on purpose: FSDP copies dataclasses among the arguments of a module, and what layers note in a
    copy would be lost.

    Attributes:
        stretches: The segments in the order of the row, which they cover.
        num_cached: Keys from a cache that stand before the row's own, and that every segment sees.
        attended: Indices of the layers that have attended by the table. Being a set, it is the same when gradient
            checkpointing runs a layer twice.
    """

    def __init__(self, stretches: Sequence[Stretch], num_cached: int = 0) -> None:
        self.stretches = tuple(stretches)
        self.num_cached = num_cached
        self.attended: set[int] = set()
        self._made: dict[Hashable, Any] = {}

    @classmethod
    def of(cls, row: PackedRow, num_cached: int = 0) -> "SegmentTable":
        """Return the table of a row, which goes on from `num_cached` cached tokens."""
        stretches: list[Stretch] = []
        for tree, starts in zip(row.trees, row.starts, strict=True):
            first = len(stretches)
            for segment, start, num_below in zip(tree.segments, starts, tree.num_below(), strict=True):
                before = () if segment.parent is None else stretches[first + segment.parent].path
                stretch = Stretch(
                    start=start,
                    stop=start + len(segment.ids),
                    position=num_cached + segment.position,
                    path=(*before, len(stretches)),
                    num_below=num_below,
                )
                stretches.append(stretch)
        return cls(stretches, num_cached)

    @property
    def num_queries(self) -> int:
        """Tokens of the row."""
        return self.stretches[-1].stop

    @property
    def num_keys(self) -> int:
        """Keys, cached ones included."""
        return self.num_cached + self.num_queries

    def once(self, what: Hashable, make: Callable[[], T]) -> T:
        """Return what `make` returned the first time: masks are the same in every layer."""
        if what not in self._made:
            self._made[what] = make()
        made: T = self._made[what]
        return made
