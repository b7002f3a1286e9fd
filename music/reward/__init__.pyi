from .contract import CONTRACT_FILE, ContractError, Readout, RewardStatistics, ScoreContract
from .functions import RewardFunction, length_reward, load_reward, random_reward
from .model import RewardModel
from .remote import RemoteReward, RemoteRewardSettings
from .scored import Scored
from .session import RewardSession
from .tokens import ConversationTokenizer, Encoding, Unscorable
from .unscorable import UnscorableError

__all__ = [
    "CONTRACT_FILE",
    "ContractError",
    "ConversationTokenizer",
    "Encoding",
    "Readout",
    "RemoteReward",
    "RemoteRewardSettings",
    "RewardFunction",
    "RewardModel",
    "RewardSession",
    "RewardStatistics",
    "ScoreContract",
    "Scored",
    "Unscorable",
    "UnscorableError",
    "length_reward",
    "load_reward",
    "random_reward",
]
