"""`BatchSchedule`: which pairs each step sees. It depends only on a seed, so a resumed run sees the same pairs.

Sources have weights. In an epoch a source of weight 2 gives each of its pairs twice; one of weight 0.5 gives half of
them, drawn again in every epoch.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["BatchSchedule", "num_drawn"]

WINDOW = 16
"""Number of batches whose pairs are sorted by length, so that a batch holds pairs of similar length. It is smaller if
pairs are drawn several times an epoch, so that sorting does not bring the copies of a pair together."""


def num_drawn(num_pairs: int, weight: float) -> int:
    """Return how many pairs a source gives in an epoch."""
    return round(num_pairs * weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSchedule:
    """The order of pairs, by index.

    Attributes:
        lengths: Length of each pair.
        batch_size: Largest number of pairs in a batch.
        seed: Seed of the order.
        sources: Number of pairs and weight of each source, in the order of the pairs; if empty, one source of weight 1.
        clusters: Name of each pair's cluster. A cluster's pairs stay together; None sorts pairs by length alone.
    """

    lengths: Sequence[int]
    batch_size: int
    seed: int
    sources: Sequence[tuple[int, float]] = ()
    clusters: Sequence[str] | None = None

    @property
    def num_pairs(self) -> int:
        """Number of pairs in an epoch."""
        return sum(num_drawn(*source) for source in self._sources)

    @property
    def num_batches(self) -> int:
        """Number of batches in an epoch."""
        return -(-self.num_pairs // self.batch_size)

    def batches(self, start: int = 0) -> Iterator[list[int]]:
        """Yield batches forever, epoch after epoch.

        The batches of an epoch differ in size by at most one pair, so no small last batch weighs more than the others.

        Args:
            start: Number of batches to skip when a run resumes.
        """
        epoch, skip = divmod(start, self.num_batches)
        while True:
            yield from self._epoch(random.Random(f"{self.seed}/{epoch}"))[skip:]
            epoch, skip = epoch + 1, 0

    @property
    def _sources(self) -> Sequence[tuple[int, float]]:
        return self.sources or ((len(self.lengths), 1.0),)

    def _epoch(self, rng: random.Random) -> list[list[int]]:
        """Plan one epoch."""
        order = self._drawn(rng)
        rng.shuffle(order)
        order = _copies_apart(order)
        if self.clusters is not None:
            order = _together(order, self.clusters)
        else:
            most_copies = max(Counter(order).values(), default=1)
            window = self.batch_size * max(1, min(WINDOW, self.num_batches // most_copies))
            for start in range(0, len(order), window):
                order[start : start + window] = sorted(order[start : start + window], key=lambda i: self.lengths[i])
        bounds = [len(order) * i // self.num_batches for i in range(self.num_batches + 1)]
        batches = [order[start:stop] for start, stop in pairwise(bounds)]
        rng.shuffle(batches)
        return batches

    def _drawn(self, rng: random.Random) -> list[int]:
        """Return the pairs of an epoch, source by source."""
        drawn: list[int] = []
        first = 0
        for num_pairs, weight in self._sources:
            pairs = range(first, first + num_pairs)
            copies, rest = divmod(num_drawn(num_pairs, weight), num_pairs) if num_pairs else (0, 0)
            drawn += [*pairs] * copies
            drawn += rng.sample(pairs, rest) if rest else []
            first += num_pairs
        return drawn


def _copies_apart(order: Sequence[int]) -> list[int]:
    """Spread the copies of each pair evenly over the epoch; pairs that are drawn once keep their order."""
    places: dict[int, list[int]] = defaultdict(list)
    for place, index in enumerate(order):
        places[index].append(place)
    timed: list[tuple[float, int]] = []
    for index, found in places.items():
        # Any of its places can be the first; always taking the earliest would crowd the start of the epoch.
        start = found[index % len(found)] / len(order)
        timed += [((copy + start) / len(found), index) for copy in range(len(found))]
    return [index for _, index in sorted(timed)]


def _together(order: Sequence[int], clusters: Sequence[str]) -> list[int]:
    """Move the members of each cluster to its first member; copies of a cluster stay apart."""
    members: dict[tuple[str, int], list[int]] = defaultdict(list)
    seen: Counter[int] = Counter()
    for index in order:
        members[clusters[index], seen[index]].append(index)
        seen[index] += 1
    return [index for cluster in members.values() for index in cluster]
