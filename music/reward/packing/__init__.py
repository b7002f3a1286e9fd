"""Packing: token sequences into rows without padding, in which what sequences share at their beginning stands once.

- `sequences`: `TokenSequence`, a conversation's tokens and where rewards are read.
- `tree`: `PrefixTree`, the sequences of one group with their longest common prefixes stored once.
- `joining`: trees of a row that begin alike into one.
- `balance`: sizes into bins of about the same load.
- `rows`: `PackedRow` and `plan_rows`, groups into rows of about the same number of tokens.
"""

from music.reward.packing.rows import PackedRow, RowPlan, plan_rows
from music.reward.packing.sequences import TokenSequence
from music.reward.packing.tree import PrefixTree, Segment

__all__ = ["PackedRow", "PrefixTree", "RowPlan", "Segment", "TokenSequence", "plan_rows"]
