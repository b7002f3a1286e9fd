"""Trees of a row that begin alike, as with one system prompt, become one tree, which stores that beginning once."""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from itertools import takewhile

from music.reward.packing.tree import PrefixTree, Segment

__all__ = ["families", "join"]


def families(trees: Sequence[PrefixTree], min_length: int) -> list[list[int]]:
    """Sort trees by their first tokens, in order of first appearance; return their indices.

    Args:
        trees: None of them behind cached tokens.
        min_length: Tokens in which trees of a family must agree; a tree whose root is no longer stands alone.
    """
    found: dict[Hashable, list[int]] = defaultdict(list)
    for index, tree in enumerate(trees):
        root = tree.segments[0].ids
        is_alone = len(root) <= min_length or any(segment.parent is None for segment in tree.segments[1:])
        found[index if is_alone else tuple(root[:min_length])].append(index)
    return list(found.values())


def join(trees: Sequence[PrefixTree]) -> PrefixTree:
    """Return one tree of the sequences of several that have one root each and begin alike, in their order."""
    if len(trees) == 1:
        return trees[0]
    # Each root keeps a token of its own, so that trees stay as they are behind what they share.
    columns = zip(*(tree.segments[0].ids[:-1] for tree in trees), strict=False)
    shared = [column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)]
    segments = [Segment(None, 0, shared)]
    leaves: list[int] = []
    for tree in trees:
        offset = len(segments)
        segments += _moved(tree, len(shared), offset)
        leaves += [leaf + offset for leaf in tree.leaves]
    return PrefixTree(tuple(segments), tuple(leaves), tuple(reads for tree in trees for reads in tree.reads))


def _moved(tree: PrefixTree, num_shared: int, offset: int) -> Iterator[Segment]:
    """Yield a tree's segments behind a shared beginning, which its root leaves out."""
    for segment in tree.segments:
        if segment.parent is None:
            yield Segment(0, num_shared, segment.ids[num_shared:])
        else:
            yield Segment(segment.parent + offset, segment.position, segment.ids)
