from .contract import CONTRACT_FILE, ContractError, Readout, RewardStatistics, ScoreContract
from .functions import RewardFunction, length_reward, open_reward, random_reward
from .model import RewardModel
from .session import RewardSession
from .tokens import ConversationTokenizer, Encoding, Unscorable, UnscorableError

__all__ = [
    "CONTRACT_FILE",
    "ContractError",
    "ConversationTokenizer",
    "Encoding",
    "Readout",
    "RewardFunction",
    "RewardModel",
    "RewardSession",
    "RewardStatistics",
    "ScoreContract",
    "Unscorable",
    "UnscorableError",
    "length_reward",
    "open_reward",
    "random_reward",
]
