"""`music experiment`: a declared grid of arms and seeds on any pairs and measures, with hypotheses and statistics.

- `grid` declares an experiment: `arm` what is trained, `sources` and `pairs` on what, `measures` and `sandbox` how it
  is measured, `hypotheses` what is claimed. `content` checks its files.
- `cell` runs one arm with one seed, by one of the `learners`; `states` and `precompute` hold hidden states of a frozen
  backbone. `run` runs all cells in processes, and `store` keeps them on disk.
- `analysis` turns cells into figures, comparisons and findings, and `report` shows them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
