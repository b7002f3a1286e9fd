"""`PairGroup`: pairs of a step that are packed together, so that what they share is computed once."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from music.reward.packing import PrefixTree, TokenSequence
from music_trainers.reward.pairs.encoding import EncodedPair

__all__ = ["PairGroup", "group_by_chosen", "group_by_seed"]


@dataclass(frozen=True, slots=True)
class PairGroup:
    """Pairs that lie in one packed row.

    Attributes:
        pairs: At least one.
    """

    pairs: tuple[EncodedPair, ...]

    def sequences(self) -> list[TokenSequence]:
        """Return chosen and rejected side of each pair in turn; a side that stands twice is stored once."""
        return [sequence for pair in self.pairs for sequence in (pair.chosen, pair.rejected)]


def group_by_seed(pairs: Sequence[EncodedPair], max_tokens: int) -> list[PairGroup]:
    """Put the pairs of each seed conversation into one group, or into several where a row would not hold it.

    Args:
        pairs: Those of a step.
        max_tokens: Bound on what a group stores; a single pair may be larger.
    """
    groups: list[PairGroup] = []
    for members in _collect((pair.seed, pair) for pair in pairs):
        part: list[EncodedPair] = []
        for pair in members:
            if part and _stored([*part, pair]) > max_tokens:
                groups.append(PairGroup(tuple(part)))
                part = []
            part.append(pair)
        groups.append(PairGroup(tuple(part)))
    return groups


def group_by_chosen(pairs: Sequence[EncodedPair]) -> list[PairGroup]:
    """Put the pairs that share their chosen side, token by token, into one group, however large it gets.

    A pair that a step sees twice, as a source's weight may have it, goes into two groups: it ranks once in each.
    """
    seen: Counter[int] = Counter()
    keyed = []
    for pair in pairs:
        keyed.append(((tuple(pair.chosen.ids), seen[id(pair)]), pair))
        seen[id(pair)] += 1
    return [PairGroup(tuple(members)) for members in _collect(keyed)]


def _collect(keyed: Iterable[tuple[Hashable, EncodedPair]]) -> list[list[EncodedPair]]:
    """Sort pairs by key, in the order in which the keys come first."""
    found: dict[Hashable, list[EncodedPair]] = defaultdict(list)
    for key, pair in keyed:
        found[key].append(pair)
    return list(found.values())


def _stored(pairs: Sequence[EncodedPair]) -> int:
    return PrefixTree.grow(PairGroup(tuple(pairs)).sequences()).num_tokens
