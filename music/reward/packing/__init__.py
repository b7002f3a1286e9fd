"""Packing: token sequences in rows without padding, which store shared beginnings once.

A *sequence* is a conversation as tokens (`TokenSequence`). A *segment* is a run of consecutive tokens that is stored
once, for all sequences that have it on their path: in a row (`Segment`), among the keys of attention (`SegmentKeys`),
or in a cache (`CachedSegment`).

- `tree`: `PrefixTree`, the sequences of one group with their longest common prefixes stored once.
- `rows`: `PackedRow` and `plan_rows`, groups into rows of about the same number of tokens.
- `prefix_cache`: `PrefixCache`, the tokens of earlier sequences that a cache keeps.
"""

from music.reward.packing.rows import PackedRow, RowPlan, plan_rows
from music.reward.packing.tree import PrefixTree, Segment, TokenSequence

__all__ = ["PackedRow", "PrefixTree", "RowPlan", "Segment", "TokenSequence", "plan_rows"]
