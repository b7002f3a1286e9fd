from .config import PolicyTrainingConfig
from .records import Overoptimisation, PolicyEvaluation, PolicyTrainingResult
from .rollouts import ChatTokens, Trajectory, roll_out, sample_replies
from .run import train_policy

__all__ = [
    "ChatTokens",
    "Overoptimisation",
    "PolicyEvaluation",
    "PolicyTrainingConfig",
    "PolicyTrainingResult",
    "Trajectory",
    "roll_out",
    "sample_replies",
    "train_policy",
]
