"""Judges: language models that compare or rate conversations, and how far they can be trusted.

- `settings`: how a judge is named, how it is asked, and what it may cost.
- `model`: asks, within a budget, so many at a time; replies are kept in a journal, failures are counted.
- `pairwise`: two conversations in both orders. `pointwise`: one conversation on a scale.
- `reliability`: position bias, agreement with itself, cyclic triples; `JudgeReport` sums a judge up.

What is asked is a template of `music.prompts`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
