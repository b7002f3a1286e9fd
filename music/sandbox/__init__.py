"""The sandbox: a small dialogue world in which a program knows what is right.

`world` holds its words, `language` the acts and their English, `state` what a reply has to do, `players` the user, the
assistant and the contrasts, `oracle` the grades. `model` puts the players behind the `ChatModel` protocol, `server`
behind HTTP. `seeds`, `corpus` and `defects` draw data from it, `artifacts` holds two small models trained on it.
"""

from music.sandbox.model import SKILLS, SandboxModel
from music.sandbox.oracle import ErrorKind, TurnGrade, grade, score
from music.sandbox.seeds import seed_pairs

__all__ = ["SKILLS", "ErrorKind", "SandboxModel", "TurnGrade", "grade", "score", "seed_pairs"]
