from .chat_tokens import ChatTokens
from .config import PolicyTrainingConfig
from .records import Overoptimisation, PolicyEvaluation, PolicyTrainingResult
from .rollouts import EpisodeRules, Trajectory, roll_out
from .run import train_policy
from .sampling import sample_replies

__all__ = [
    "ChatTokens",
    "EpisodeRules",
    "Overoptimisation",
    "PolicyEvaluation",
    "PolicyTrainingConfig",
    "PolicyTrainingResult",
    "Trajectory",
    "roll_out",
    "sample_replies",
    "train_policy",
]
