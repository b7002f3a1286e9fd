"""Reports: one HTML file with interactive plots, readable without a network, and its plots and numbers beside it.

- `report` what a page holds: plots, tables, words; `table` tables of text and estimates; `points` what is plotted.
- `intervals`, `curves`, `histograms`, `matrix` the kinds of plots; `style` their look, and the colour of each model.
- `page` writes it. - `evaluation`, `diagnosis` what becomes of the results of `music evaluate` and `music diagnose`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
