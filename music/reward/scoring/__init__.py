"""From tokens to rewards.

- `forward`: `PackedScorer`, a model that reads packed rows.
- `device`: the device on which it computes.
- `rope`: which sequences cannot share a row.
- `sequence_scorer`: `SequenceScorer`, which computes the rewards of token sequences.
- `keeping_scorer`: `KeepingScorer`, the base of scorers that keep states from call to call.
- `cached_scorer`, `states`: `CachedScorer`, which has a prefix cache, and the tensors that it keeps.
- `deterministic_scorer`: `DeterministicScorer`, whose rewards do not depend on what else is scored, in any bit.
- `self_test`, `probe`: whether a model scores packed rows as its own forward pass does.
"""
