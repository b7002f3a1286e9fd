from .best_of_n import BestOfNConfig, Decision, Rollout, greedy_best_of_n, sample_pools, select_best
from .chat import ChatEnv
from .comparison import Comparison, compare, judge_rollouts, mean_grade
from .records import rollout_row, write_rollouts
from .registration import register_envs
from .spaces import ConversationSpace, ReplySpace

__all__ = [
    "BestOfNConfig",
    "ChatEnv",
    "Comparison",
    "ConversationSpace",
    "Decision",
    "ReplySpace",
    "Rollout",
    "compare",
    "greedy_best_of_n",
    "judge_rollouts",
    "mean_grade",
    "register_envs",
    "rollout_row",
    "sample_pools",
    "select_best",
    "write_rollouts",
]
