from .contract import CONTRACT_FILE, ContractError, RewardStatistics, ScoreContract
from .functions import RewardFunction, TurnScorer, length_reward, open_reward, prefix_mean, random_reward
from .model import RewardModel, UnscorableError
from .tokens import ConversationTokenizer, Encoding, Unscorable

__all__ = [
    "CONTRACT_FILE",
    "ContractError",
    "ConversationTokenizer",
    "Encoding",
    "RewardFunction",
    "RewardModel",
    "RewardStatistics",
    "ScoreContract",
    "TurnScorer",
    "Unscorable",
    "UnscorableError",
    "length_reward",
    "open_reward",
    "prefix_mean",
    "random_reward",
]
