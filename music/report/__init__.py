"""Reports: one HTML file with interactive plots that needs no network, and a folder with its plots and numbers.

- `page`: `Report`, the content of a page, and `write_report`.
- `table`: text and estimates in rows. `points`: the data of plots. `terminal`: results for the terminal.
- `interval_plots`, `curve_plots`, `cell_plots`: the kinds of plots. `style`: their look, and each model's colour.

`music.evaluation` and `music_trainers` report their results with it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
