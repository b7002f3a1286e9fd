from .model import SKILLS, SandboxModel
from .world.oracle import ErrorKind, TurnGrade, grade_turns, oracle_score
from .world.seeds import seed_pairs

__all__ = ["SKILLS", "ErrorKind", "SandboxModel", "TurnGrade", "grade_turns", "oracle_score", "seed_pairs"]
