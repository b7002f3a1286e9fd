"""`music demo`: the paper in miniature on the sandbox.

`pairs` simulates what three arms train on, `run` trains and measures them side by side (as `music_trainers.arms` says),
`results` turns measures into figures and sentences, `report` shows them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
