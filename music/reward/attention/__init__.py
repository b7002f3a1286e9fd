"""Attention over packed rows: every segment sees its own path from the root, and nothing else.

- `table`: `SegmentTable`, which keys the tokens of each segment see. All back-ends use it.
- `gather`, `flex`, `varlen`: the back-ends.
- `backends`: which back-end a model uses, and which models are refused.
"""

from music.reward.attention.backends import BACKENDS, Past, choose_backend, use_backend
from music.reward.attention.table import PackedAttentionError, SegmentTable

__all__ = ["BACKENDS", "PackedAttentionError", "Past", "SegmentTable", "choose_backend", "use_backend"]
