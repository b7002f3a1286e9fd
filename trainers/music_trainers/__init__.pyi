from .policy import PolicyTrainingConfig, PolicyTrainingResult, train_policy
from .reward import (
    HeldOutEvaluation,
    HeldOutMetrics,
    Mixture,
    Objective,
    PackingAccounting,
    PairAccounting,
    PairSource,
    RewardTrainingConfig,
    RewardTrainingResult,
    SourceAccounting,
    TrainingDivergedError,
    TrainingStart,
    TrainingStep,
    train_reward_model,
)
from .version import __version__

__all__ = [
    "HeldOutEvaluation",
    "HeldOutMetrics",
    "Mixture",
    "Objective",
    "PackingAccounting",
    "PairAccounting",
    "PairSource",
    "PolicyTrainingConfig",
    "PolicyTrainingResult",
    "RewardTrainingConfig",
    "RewardTrainingResult",
    "SourceAccounting",
    "TrainingDivergedError",
    "TrainingStart",
    "TrainingStep",
    "__version__",
    "train_policy",
    "train_reward_model",
]
