"""From tokens to rewards.

- `forward`: `PackedScorer`, a model that reads packed rows.
- `device`: the device on which it computes.
- `rope`: which sequences cannot share a row.
- `sequence_scorer`: `SequenceScorer`, which computes the rewards of token sequences.
- `cached_scorer`, `states`: `CachedScorer`, which has a prefix cache, and the tensors that it keeps.
- `self_test`, `probe`: whether a model scores packed rows as its own forward pass does.
"""
