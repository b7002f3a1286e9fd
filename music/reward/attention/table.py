"""`SegmentTable`: which keys the tokens of each segment see, for every attention back-end.

The keys that a segment sees are those on its path from the root. In the path's order they have the logical positions
0, 1, ..., and the segment's own tokens are the last of them. So attention within a packed row is plain causal attention
of the last queries of a shorter sequence, and a sliding window counts logical positions. With indices of the packed row
both would be silently wrong.

Keys from a cache come before the row's own. Cached segments are seen, and see nothing.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from music.errors import InvalidInputError
from music.reward.packing import PackedRow

__all__ = ["CachedTokens", "PackedAttentionError", "SegmentKeys", "SegmentTable"]

T = TypeVar("T")


class PackedAttentionError(InvalidInputError):
    """A model cannot attend to packed rows, or was called without the table that says which tokens see which."""


class CachedTokens(Hashable, Protocol):
    """A cached segment, identified by the object itself."""

    def __len__(self) -> int:
        """Return the number of its tokens."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentKeys:
    """The keys of a segment, and which keys its tokens see.

    Attributes:
        start: Index of its first key among all keys.
        stop: Index after its last key.
        position: Logical position of its first token.
        path: Numbers of the segments that its tokens see, from the beginning of their sequence, itself last.
    """

    start: int
    stop: int
    position: int
    path: tuple[int, ...]

    @property
    def num_tokens(self) -> int:
        """Number of its tokens."""
        return self.stop - self.start

    @property
    def num_keys(self) -> int:
        """Number of keys that its last token sees without a window."""
        return self.position + self.num_tokens


class SegmentTable:
    """The segments of a row for attention.

    It is not a dataclass, because FSDP copies dataclasses among the arguments of a module, and what layers record in a
    copy would be lost.

    Attributes:
        cached: The segments from a cache. Their keys are contiguous.
        own: The row's own segments, whose tokens are the queries. Their keys are contiguous.
        attended: Indices of the layers that have attended with the table. It is a set, so it does not change when
            gradient checkpointing runs a layer twice.
    """

    def __init__(self, cached: Sequence[SegmentKeys], own: Sequence[SegmentKeys]) -> None:
        self.cached = tuple(cached)
        self.own = tuple(own)
        self.attended: set[int] = set()
        self._made: dict[Hashable, Any] = {}

    @classmethod
    def of(cls, row: PackedRow, prefixes: Sequence[Sequence[CachedTokens]] = ()) -> "SegmentTable":
        """Return the table of a row.

        Args:
            row: The row.
            prefixes: For each group, the cached segments that its sequences continue, from the beginning. Keys are in
                the order of first appearance. Segments in several prefixes have their keys only once.
        """
        cached, paths = _cached_keys(prefixes or [()] * len(row.trees))
        return cls(cached, list(_own_keys(row, cached, paths)))

    @property
    def both(self) -> tuple[SegmentKeys, ...]:
        """Cached and own segments, in the order of the keys. Paths contain their indices."""
        return self.cached + self.own

    @property
    def num_cached(self) -> int:
        """Number of keys from a cache."""
        return self.cached[-1].stop if self.cached else 0

    @property
    def num_queries(self) -> int:
        """Number of tokens in the row."""
        return self.num_keys - self.num_cached

    @property
    def num_keys(self) -> int:
        """Number of keys, cached ones included."""
        return self.own[-1].stop

    def once(self, what: Hashable, make: Callable[[], T]) -> T:
        """Return what `make` returned the first time. Layers use this to share masks."""
        if what not in self._made:
            self._made[what] = make()
        made: T = self._made[what]
        return made


def _cached_keys(prefixes: Sequence[Sequence[CachedTokens]]) -> tuple[list[SegmentKeys], list[tuple[int, ...]]]:
    """Return the keys of cached segments, and the path of each prefix."""
    keys: list[SegmentKeys] = []
    found: dict[CachedTokens, SegmentKeys] = {}
    paths = []
    for prefix in prefixes:
        path: tuple[int, ...] = ()
        for tokens in prefix:
            if tokens not in found:
                start, position = keys[-1].stop if keys else 0, keys[path[-1]].num_keys if path else 0
                path = (*path, len(keys))
                found[tokens] = SegmentKeys(start=start, stop=start + len(tokens), position=position, path=path)
                keys.append(found[tokens])
            path = found[tokens].path
        paths.append(path)
    return keys, paths


def _own_keys(row: PackedRow, cached: Sequence[SegmentKeys], paths: Sequence[tuple[int, ...]]) -> Iterator[SegmentKeys]:
    """Yield the keys of a row's segments, which follow the cached keys; `paths` are those of the groups' prefixes."""
    num_cached, number = (cached[-1].stop if cached else 0), len(cached)
    for tree, starts, before in zip(row.trees, row.starts, paths, strict=True):
        own: list[tuple[int, ...]] = []
        for segment, start in zip(tree.segments, starts, strict=True):
            own.append((*(before if segment.parent is None else own[segment.parent]), number))
            at = num_cached + start
            yield SegmentKeys(start=at, stop=at + len(segment.ids), position=segment.position, path=own[-1])
            number += 1
