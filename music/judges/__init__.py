"""Judges: language models that compare or rate conversations, and how far they can be trusted.

- `settings`: the settings of a judge and its name on the command line.
- `model`: asks within a budget and a limit of concurrent requests, keeps replies in a journal, counts failures.
- `pairwise`: compares two conversations in both orders. `pointwise`: rates one conversation on a scale.
- `reliability`: position bias, self-consistency, cyclic triples; `JudgeReport` summarises a judge.

The prompts are templates of `music.prompts`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
