from .config import Objective, RewardTrainingConfig
from .mixture import Mixture, PairSource
from .optimizer import TrainingDivergedError
from .records import (
    HeldOutEvaluation,
    HeldOutMetrics,
    PackingAccounting,
    PairAccounting,
    RewardTrainingResult,
    SourceAccounting,
    TrainingStart,
    TrainingStep,
)
from .trainer import train_reward_model

__all__ = [
    "HeldOutEvaluation",
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
