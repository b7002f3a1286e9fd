"""`Outcomes`: what all shares of a run came to, and their merging into the run's own files."""

import heapq
from collections.abc import Sequence
from itertools import count, takewhile
from pathlib import Path

from music_agents.failures import FailedPair
from music_agents.output.failure_log import FailureLog
from music_agents.output.shard_folder import pair_index
from music_agents.output.shards import PairTable
from music_agents.run.session import FAILURES
from music_agents.scaleout.part import Part

__all__ = ["Outcomes"]


class Outcomes:
    """The outcomes of all shares as they are on disk, while no worker is at them.

    Args:
        parts: The shares.
        num_wanted: Pairs that the run is to have.
        shard_size: Rows of a full shard.
    """

    def __init__(self, parts: Sequence[Part], num_wanted: int, shard_size: int) -> None:
        self._parts = parts
        self._num_wanted = num_wanted
        self._shard_size = shard_size
        failures = [failure for part in parts for failure in part.failures()]
        self._failures = {failure.index: failure for failure in failures if failure.dropped}
        self._open = [failure for failure in failures if not failure.dropped]

    @property
    def end(self) -> int:
        """The index below which all are wanted, as far as can be told by now: each failure takes one more."""
        end = self._num_wanted
        for index in sorted(self._failures):
            if index >= end:
                break
            end += 1
        return end

    @property
    def dropped(self) -> frozenset[int]:
        """Indices that came to no pair."""
        return frozenset(self._failures)

    def streak(self, end: int, known: frozenset[int]) -> list[FailedPair]:
        """Return the failures that stand in a row at the end of the indices below `end`, and are not known before."""
        fresh = self._failures.keys() - known
        indices = list(takewhile(fresh.__contains__, range(end - 1, -1, -1)))
        return [self._failures[index] for index in reversed(indices)]

    def merge(self, directory: Path) -> tuple[PairTable, FailureLog]:
        """Bring the run's own shards and failures up to what the shares hold without a gap, in order of the indices.

        It may die on the way: what it wrote is a beginning of what it was to write.
        """
        end = self._ready_end()
        log = FailureLog(directory / FAILURES)
        log.forget(log.indices - self.dropped)
        failed = [self._failures[index] for index in sorted(self._failures) if index < end]
        log.append([failure for failure in failed if failure.index not in log.indices])
        log.show(self._open)
        table = PairTable(directory, self._shard_size, log.indices)
        merged = table.ended
        pairs = heapq.merge(*(part.pairs() for part in self._parts), key=lambda pair: pair_index(pair.id))
        for pair in takewhile(lambda pair: pair_index(pair.id) < end, pairs):
            if pair_index(pair.id) not in merged:
                table.add(pair_index(pair.id), pair)
        table.flush()
        return table, log

    def _ready_end(self) -> int:
        """Return the index below which all outcomes are there, or all that are wanted."""
        ended = frozenset[int]().union(*(part.ended(self._shard_size) for part in self._parts))
        end = self.end
        return next(index for index in count() if index not in ended or index == end)
