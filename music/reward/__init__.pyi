from .functions import RewardFunction, length_reward, load_reward, random_reward
from .model import RewardModel
from .remote import RemoteReward, RemoteRewardSettings
from .session import RewardSession
from .tokens.contract import (
    CONTRACT_FILE,
    ContractError,
    Readout,
    RewardStatistics,
    ScoreContract,
    Scored,
    Unscorable,
    UnscorableError,
    read_rewards,
)
from .tokens.encoding import ConversationTokenizer, Encoding

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
    "read_rewards",
]
