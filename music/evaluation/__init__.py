"""Evaluation: how good a reward model is, and how sure that is.

- `run` an evaluation from a `config` to its files; `cli` is `music evaluate`.
- `benchmarks` the field's benchmarks, and any file of pairs. - `scoring` items to scores, kept row by row.
- `result` scores to figures; `comparison` two models, prompt by prompt; `report` both for people.
- `diagnostics` what is wrong with a model, or with a set of pairs.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
