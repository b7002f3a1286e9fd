from .advantages import turn_advantages
from .config import PolicyTrainingConfig
from .records import PolicyEvaluation, PolicyTrainingResult
from .rollouts import Trajectory, play
from .run import train_policy
from .sampling import sample_replies
from .tokens import ChatTokens

__all__ = [
    "ChatTokens",
    "PolicyEvaluation",
    "PolicyTrainingConfig",
    "PolicyTrainingResult",
    "Trajectory",
    "play",
    "sample_replies",
    "train_policy",
    "turn_advantages",
]
