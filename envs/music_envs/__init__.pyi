from .best_of_n.anytime import Anytime
from .best_of_n.beam import Beam
from .best_of_n.by_n import ScoreByN, score_by_n
from .best_of_n.greedy import Greedy
from .best_of_n.rollout import Decision, Rollout
from .best_of_n.selection import select_best
from .best_of_n.stage import BestOfNConfig, Stage
from .best_of_n.strategy import Strategy, run_best_of_n
from .best_of_n.whole import Whole, sample_pools
from .chat.env import ChatEnv
from .chat.episode import Episode, Snapshot
from .chat.twin import AsyncChatEnv
from .chat.vector import ChatVectorEnv
from .chat.world import ChatWorld
from .comparison import Comparison, compare, judge_rollouts, mean_grade
from .judged import JudgedArms, judge_arms
from .policies.model import ModelPolicy
from .policies.play import Played, play_episodes
from .policies.policy import Policy
from .records import rollout_row, write_rollouts
from .registration import register_envs
from .seeds import load_seeds
from .spaces import ConversationSpace, ReplySpace

__all__ = [
    "Anytime",
    "AsyncChatEnv",
    "Beam",
    "BestOfNConfig",
    "ChatEnv",
    "ChatVectorEnv",
    "ChatWorld",
    "Comparison",
    "ConversationSpace",
    "Decision",
    "Episode",
    "Greedy",
    "JudgedArms",
    "ModelPolicy",
    "Played",
    "Policy",
    "ReplySpace",
    "Rollout",
    "ScoreByN",
    "Snapshot",
    "Stage",
    "Strategy",
    "Whole",
    "compare",
    "judge_arms",
    "judge_rollouts",
    "load_seeds",
    "mean_grade",
    "play_episodes",
    "register_envs",
    "rollout_row",
    "run_best_of_n",
    "sample_pools",
    "score_by_n",
    "select_best",
    "write_rollouts",
]
