from .accounting import PackingAccounting, PairAccounting, SourceAccounting
from .config import Objective, RewardTrainingConfig
from .pairs.mixture import Mixture, PairSource
from .records import Evaluation, HeldOutMetrics, RewardTrainingResult, TrainingStart, TrainingStep
from .step.optimization import TrainingDivergedError
from .trainer import train_reward_model

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
