"""Groups into packed rows: one sequence dimension, no padding, about the same number of tokens in each row.

A row is `[group | group | ...]` and a group `[segment | segment | ...]`. A group stays within one row, so that a loss
over its rewards needs one forward pass.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from music.reward.packing.balance import balance
from music.reward.packing.sequences import TokenSequence
from music.reward.packing.tree import MIN_SAVED, PrefixTree

__all__ = ["PackedRow", "RowPlan", "plan_rows"]


@dataclass(frozen=True)
class PackedRow:
    """Groups that go through the model in one forward pass.

    Attributes:
        groups: Index of each group among those that were planned.
        trees: The groups, as they lie in the row.
    """

    groups: tuple[int, ...]
    trees: tuple[PrefixTree, ...]

    @cached_property
    def num_tokens(self) -> int:
        """Tokens in the row."""
        return sum(tree.num_tokens for tree in self.trees)

    @cached_property
    def starts(self) -> list[list[int]]:
        """Where each segment begins in the row, by tree."""
        starts, at = [], 0
        for tree in self.trees:
            begun = []
            for segment in tree.segments:
                begun.append(at)
                at += len(segment.ids)
            starts.append(begun)
        return starts

    def input_ids(self) -> Tensor:
        """Return the token ids, `[num_tokens]`."""
        return torch.tensor([token for tree in self.trees for segment in tree.segments for token in segment.ids])

    def positions(self) -> Tensor:
        """Return the logical position of each token, `[num_tokens]`."""
        spans = [(s.position, s.position + len(s.ids)) for tree in self.trees for s in tree.segments]
        return torch.cat([torch.arange(start, stop) for start, stop in spans])

    def reads(self) -> Tensor:
        """Return the place in the row of each reward: by group, sequence and read, `[num_reads]`."""
        return torch.tensor(list(self._reads()), dtype=torch.long)

    def split(self, rewards: Tensor) -> list[list[Tensor]]:
        """Sort the rewards `[num_reads]` at `reads` by group and sequence."""
        sizes = [len(reads) for tree in self.trees for reads in tree.reads]
        parts = iter(torch.split(rewards, sizes))
        return [[next(parts) for _ in tree.reads] for tree in self.trees]

    def _reads(self) -> Iterator[int]:
        for tree, starts in zip(self.trees, self.starts, strict=True):
            for leaf, reads in zip(tree.leaves, tree.reads, strict=True):
                path = tree.path(leaf)
                for read in reads:
                    # The last segment of the path that begins at or before the read holds it.
                    holder = next(s for s in reversed(path) if tree.segments[s].position <= read)
                    yield starts[holder] + read - tree.segments[holder].position


@dataclass(frozen=True, slots=True)
class RowPlan:
    """What a plan came to.

    Attributes:
        rows: The rows, each with one group at least.
        num_sequence_tokens: Tokens of all sequences, shared ones as often as they are shared.
    """

    rows: tuple[PackedRow, ...]
    num_sequence_tokens: int

    @property
    def num_tokens(self) -> int:
        """Tokens stored."""
        return sum(row.num_tokens for row in self.rows)

    @property
    def fill(self) -> float:
        """Tokens stored, of as many rows of the longest one's length; 1 if there are no rows."""
        longest = max((row.num_tokens for row in self.rows), default=0)
        return self.num_tokens / (len(self.rows) * longest) if self.rows else 1.0


def plan_rows(
    groups: Sequence[Sequence[TokenSequence]], max_tokens: int, *, min_saved: int | None = MIN_SAVED
) -> RowPlan:
    """Pack groups into as few rows as will do, of about the same length, the longest first.

    Args:
        groups: Sequences that belong together; shared prefixes are found among them.
        max_tokens: Bound on a row's tokens, or the largest group's where that has more: no row can be shorter than it,
            so the others may as well be as long. `RowPlan.fill` falls short of 1 where single groups are about as
            long as a row; with several groups to a row it is over 0.97.
        min_saved: Tokens that sharing a stretch must save; None to share nothing.
    """
    trees = [PrefixTree.grow(group, min_saved) for group in groups]
    sizes = [tree.num_tokens for tree in trees]
    rows = [PackedRow(tuple(row), tuple(trees[i] for i in row)) for row in balance(sizes, max_tokens)]
    return RowPlan(tuple(rows), sum(len(sequence.ids) for group in groups for sequence in group))
