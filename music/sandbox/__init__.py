"""The sandbox: a small dialogue world in which a program knows what is right.

`world` holds its words, `acts` what can be said, `phrases` and `language` how it is said and read back, `state` what a
reply has to do, `players` the user, the assistant and the contrasts, `oracle` the grades. `model` puts the players
behind the `ChatModel` protocol, `server` behind HTTP. `seeds`, `corpus` and `defects` draw data from the world,
`artifacts` holds two small models trained on it.
"""

from music.sandbox.model import SKILLS, SandboxModel
from music.sandbox.oracle import ErrorKind, TurnGrade, grade, score
from music.sandbox.seeds import seed_pairs

__all__ = ["SKILLS", "ErrorKind", "SandboxModel", "TurnGrade", "grade", "score", "seed_pairs"]
