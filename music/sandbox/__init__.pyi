from .artifacts import BACKBONE, REWARD_MODEL
from .model import SKILLS, SandboxModel
from .world.oracle import ErrorKind, TurnGrade, grade_turns, oracle_score
from .world.outcomes import Outcome, oracle_outcomes
from .world.seeds import seed_pairs

__all__ = [
    "BACKBONE",
    "REWARD_MODEL",
    "SKILLS",
    "ErrorKind",
    "Outcome",
    "SandboxModel",
    "TurnGrade",
    "grade_turns",
    "oracle_outcomes",
    "oracle_score",
    "seed_pairs",
]
