from .accounting import PackingAccounting, PairAccounting, SourceAccounting
from .config import Objective, RewardTrainingConfig
from .mixture import Mixture, PairSource
from .optimization import TrainingDivergedError
from .records import Evaluation, HeldOutMetrics, RewardTrainingResult, TrainingStart, TrainingStep
from .reward import train_reward_model

__all__ = [
    "Evaluation",
    "HeldOutMetrics",
    "Mixture",
    "Objective",
    "PackingAccounting",
    "PairAccounting",
    "PairSource",
    "RewardTrainingConfig",
    "RewardTrainingResult",
    "SourceAccounting",
    "TrainingDivergedError",
    "TrainingStart",
    "TrainingStep",
    "train_reward_model",
]
