from .comparisons import TrainingComparisons, read_features
from .features import FrozenBackbone
from .head import Comparisons, HeadFit, RidgeTrial, choose_ridge, fit_head, fit_heads
from .records import RewardHeadResult
from .run import train_reward_head

__all__ = [
    "Comparisons",
    "FrozenBackbone",
    "HeadFit",
    "RewardHeadResult",
    "RidgeTrial",
    "TrainingComparisons",
    "choose_ridge",
    "fit_head",
    "fit_heads",
    "read_features",
    "train_reward_head",
]
