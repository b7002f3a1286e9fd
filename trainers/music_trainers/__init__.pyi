from .frozen import FrozenBackbone, RewardHeadResult, fit_head, train_reward_head
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
    "FrozenBackbone",
    "HeldOutEvaluation",
    "HeldOutMetrics",
    "Mixture",
    "Objective",
    "PackingAccounting",
    "PairAccounting",
    "PairSource",
    "PolicyTrainingConfig",
    "PolicyTrainingResult",
    "RewardHeadResult",
    "RewardTrainingConfig",
    "RewardTrainingResult",
    "SourceAccounting",
    "TrainingDivergedError",
    "TrainingStart",
    "TrainingStep",
    "__version__",
    "fit_head",
    "train_policy",
    "train_reward_head",
    "train_reward_model",
]
