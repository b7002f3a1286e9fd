"""Diagnostics of reward models and of sets of pairs: not how good they are, but what is wrong with them.

- Of a model, on a set of pairs: `shortcuts` (length, continuity), `distribution` (and turns), `history` (with the
  probes that it needs), `calibration`. Of several models: `disagreement`. `scored_pairs` is what they are made of.
- Of the pairs: `pair_set`, and `leakage` from a training set.
- `diagnosis` makes all of it one `Diagnosis`, `report` shows it, `run` is a run from a config, `cli` is `music
  diagnose`.

What simulated replies reveal of their side (words, refusals, repeats) is measured in `music_agents.quality`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
