"""The output table: parquet shards of contrastive pairs, in the order of their indices.

`PairTable` takes pairs in the order in which they finish and writes them in the order of their indices, so the files do
not depend on timing. A shard is written atomically; the last one is rewritten as it grows.
"""

from collections import Counter
from collections.abc import Iterable
from itertools import chain, count, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from music.pairs import ContrastivePair
from music_agents.output.shard_folder import PAIR_SCHEMA, ShardError, ShardFolder, shard_indices, shard_paths

__all__ = ["PairTable"]


class PairTable:
    """The shards of one run.

    The last shard may hold fewer rows than the others; a resumed run replaces it.

    Args:
        directory: The folder of the shards.
        shard_size: Rows of a full shard.
        failed: Indices whose pairs failed.
        order: The indices in the order of the table; by default all from 0.

    Attributes:
        ended: Indices that had an outcome when the table was read.
        num_pairs: Pairs on disk.
        last_index: Index of the last row in order, on disk or not; -1 if there is none.
        retries: Replies that were requested again, by reason, over all rows in order, on disk or not.
        judgements: Number of judgements by kind over the same rows; the empty string counts pairs that were not judged.

    Raises:
        ShardError: A shard is missing, is damaged, or is not the one that the run wrote.
    """

    def __init__(
        self, directory: Path, shard_size: int, failed: Iterable[int], order: Iterable[int] | None = None
    ) -> None:
        self._shard_size = shard_size
        self._folder = ShardFolder(directory)
        self._folder.remove_torn()
        shards = [self._folder.read(path, ["id", "retries", "judgement"]) for path in shard_paths(directory)]
        _check(directory, shards, shard_size)
        self.ended = frozenset(failed).union(*map(shard_indices, shards))
        self.last_index = max((index for shard in shards[-1:] for index in shard_indices(shard)), default=-1)
        self._num_full = sum(shard.num_rows == shard_size for shard in shards)
        self.num_pairs = sum(shard.num_rows for shard in shards)
        self.retries, self.judgements = Counter[str](), Counter[str]()
        for shard in shards:
            for row in shard.select(["retries", "judgement"]).to_pylist():
                self._count(row)
        self._rows: list[dict[str, Any]] = []
        if len(shards) > self._num_full:
            self._rows = self._folder.read(self._folder.path(self._num_full), PAIR_SCHEMA.names).to_pylist()
        self._waiting: dict[int, dict[str, Any] | None] = {}
        self._order = iter(count() if order is None else order)
        self._next = next(self._order, None)
        self._advance()

    @property
    def num_waiting(self) -> int:
        """Indices whose outcome waits in memory for a lower index."""
        return len(self._waiting)

    def add(self, index: int, pair: ContrastivePair | None) -> None:
        """Add the outcome of one index, a pair or None if it failed, and write the shards that are full.

        Raises:
            MusicError: A shard could not be written; its rows are kept, and `flush` writes them again.
        """
        self._waiting[index] = pair.to_row() if pair is not None else None
        self._advance()
        self._write_full()

    def flush(self) -> None:
        """Write the rows of the unfinished shard, without pairs that wait for a lower index.

        Raises:
            MusicError: They could not be written.
        """
        self._write_full()
        if self._num_full * self._shard_size + len(self._rows) > self.num_pairs:
            self._write(self._rows)

    def _advance(self) -> None:
        """Move the pairs that are next in order from the waiting ones to the rows."""
        while self._next is not None and (self._next in self._waiting or self._next in self.ended):
            row = self._waiting.pop(self._next, None)
            if row is not None:
                self.last_index = self._next
                self._rows.append(row)
                self._count(row)
            self._next = next(self._order, None)

    def _count(self, row: dict[str, Any]) -> None:
        """Count the retries and the judgement of a row."""
        self.retries.update(row["retries"])
        self.judgements[row["judgement"]] += 1

    def _write_full(self) -> None:
        """Write the full shards."""
        while len(self._rows) >= self._shard_size:
            self._write(self._rows[: self._shard_size])
            self._num_full += 1
            del self._rows[: self._shard_size]

    def _write(self, rows: list[dict[str, Any]]) -> None:
        """Write the shard after the full ones."""
        self._folder.write(self._folder.path(self._num_full), pa.Table.from_pylist(rows, schema=PAIR_SCHEMA))
        self.num_pairs = self._num_full * self._shard_size + len(rows)


def _check(directory: Path, shards: list[pa.Table], shard_size: int) -> None:
    """Check the sizes of shards and the order of their rows, which a manifest does not hold.

    Raises:
        ShardError: A run does not write shards like these.
    """
    if any(shard.num_rows != shard_size for shard in shards[:-1]):
        raise ShardError(f"{directory}: expected {shard_size} rows in every shard but the last")
    ends = [chain.from_iterable((indices[:1], indices[-1:])) for indices in map(shard_indices, shards)]
    if any(first > second for first, second in pairwise(chain.from_iterable(ends))):
        raise ShardError(
            f"{directory}: the rows are not in the order of their ids: delete the shards that are not in their place, "
            "and running the same command again restores them from the journal"
        )
