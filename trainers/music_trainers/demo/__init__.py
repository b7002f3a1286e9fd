"""`music demo`: the paper in miniature on the sandbox.

`pairs` simulates the training pairs of three arms, `run` trains and measures the arms by `music_trainers.arms`,
`results` turns measures into figures and sentences, and `report` shows them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
