"""Reports: one HTML file with interactive plots, readable without a network, and its plots and numbers beside it.

- `page`: what a page holds, and `write_report`, which writes it.
- `table`: text and estimates in rows. `points`: what plots draw.
- `interval_plots`, `curve_plots`, `cell_plots`: the kinds of plots. `style`: their look, and each model's colour.

`music.evaluation` and `music_trainers` make reports of their results.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
