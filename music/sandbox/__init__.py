"""The sandbox: a small dialogue world in which a program knows what is right.

`SandboxModel` plays user, assistant, contrast and judge behind the `ChatModel` protocol; `music.sandbox.server` serves
it over HTTP. `seed_pairs` draws preference pairs, `grade_turns`, `oracle_score` and `oracle_outcomes` grade
conversations. The world itself is in `music.sandbox.world`; `music.sandbox.artifacts` holds two small models that are
trained on it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
