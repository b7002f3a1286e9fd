"""Evaluation of reward models on benchmarks, with intervals.

- `run` runs an evaluation from a `config` and writes its files; `cli` is `music evaluate`.
- `benchmarks` reads the published benchmarks, and any file of pairs. - `scoring` scores their items, row by row.
- `result` computes figures from scores; `comparison` compares two models; `report` shows both to people.
- `diagnostics` shows what is wrong with a model, or with a set of pairs.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
