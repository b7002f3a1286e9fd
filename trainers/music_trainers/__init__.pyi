from .optimization import TrainingDivergedError
from .records import (
    HeldOutMetrics,
    PairAccounting,
    RewardTrainingConfig,
    RewardTrainingResult,
    TrainingStart,
    TrainingStep,
)
from .reward import train_reward_model

__all__ = [
    "HeldOutMetrics",
    "PairAccounting",
    "RewardTrainingConfig",
    "RewardTrainingResult",
    "TrainingDivergedError",
    "TrainingStart",
    "TrainingStep",
    "train_reward_model",
]
