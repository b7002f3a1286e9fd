"""From tokens to rewards.

- `forward`: `PackedScorer`, a model that reads packed rows. - `device`: where it computes.
- `rope`: which sequences cannot share a row.
- `sequence_scorer`: `SequenceScorer`, any token sequences to their rewards.
- `cached_scorer`, `states`: `CachedScorer`, which keeps what it computed, and the tensors that it keeps.
- `self_test`, `probe`: whether a model scores packed rows as its own forward pass does.
"""
