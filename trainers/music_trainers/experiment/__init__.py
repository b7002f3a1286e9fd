"""`music experiment`: the paper in miniature as a declared grid of arms and seeds, with controls and statistics.

`grid` declares an experiment, `cell` runs one arm with one seed, `run` runs all cells in processes, `store` keeps them
on disk; `analysis` turns cells into figures, comparisons and findings, and `report` shows them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
