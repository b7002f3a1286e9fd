"""Diagnostics of reward models and of sets of pairs: what a model relies on, and what is wrong with the pairs.

- Of a model: `shortcuts` (length, continuity), `distribution` (and turns), `history` (with its probes), `calibration`.
  Of several models: `disagreement`. All use `scored_pairs`.
- Of the pairs: `pair_set`, and `leakage` from a training set.
- `diagnosis` puts all of it into one `Diagnosis`, `report` shows it, `run` runs a diagnosis from a config, and `cli` is
  `music diagnose`.

`music_agents.quality` measures what the replies of simulated pairs reveal about their side (words, refusals, repeats).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
