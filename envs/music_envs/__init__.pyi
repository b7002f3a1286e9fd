from .best_of_n.by_n import ScoreByN, score_by_n
from .best_of_n.comparison import (
    GradeComparison,
    RolloutComparison,
    compare_grades,
    compare_rollouts,
    grade_rollouts,
    mean_grade,
)
from .best_of_n.config import BestOfNConfig, BestOfNEvaluationConfig
from .best_of_n.distillation import Distillation, write_distillation
from .best_of_n.evaluation import BestOfNEvaluation, evaluate_best_of_n
from .best_of_n.rollout import Decision, Rollout, rollout_row, write_rollouts
from .best_of_n.run import run_best_of_n, sample_pools
from .best_of_n.sampler import CandidateSampler
from .best_of_n.selection import select_best
from .best_of_n.strategies import Anytime, Beam, Greedy, Strategy, Whole
from .chat.async_env import AsyncChatEnv
from .chat.env import ChatEnv
from .chat.episode import ChatSnapshot, Episode
from .chat.play import PlayedEpisode, play_episodes
from .chat.vector import ChatVectorEnv
from .chat.world import ChatWorld
from .players import open_players
from .policies import ModelPolicy, Policy
from .prompts import load_prompts
from .registration import register_envs
from .spaces import ConversationSpace, ReplySpace
from .version import __version__

__all__ = [
    "Anytime",
    "AsyncChatEnv",
    "Beam",
    "BestOfNConfig",
    "BestOfNEvaluation",
    "BestOfNEvaluationConfig",
    "CandidateSampler",
    "ChatEnv",
    "ChatSnapshot",
    "ChatVectorEnv",
    "ChatWorld",
    "ConversationSpace",
    "Decision",
    "Distillation",
    "Episode",
    "GradeComparison",
    "Greedy",
    "ModelPolicy",
    "PlayedEpisode",
    "Policy",
    "ReplySpace",
    "Rollout",
    "RolloutComparison",
    "ScoreByN",
    "Strategy",
    "Whole",
    "__version__",
    "compare_grades",
    "compare_rollouts",
    "evaluate_best_of_n",
    "grade_rollouts",
    "load_prompts",
    "mean_grade",
    "open_players",
    "play_episodes",
    "register_envs",
    "rollout_row",
    "run_best_of_n",
    "sample_pools",
    "score_by_n",
    "select_best",
    "write_distillation",
    "write_rollouts",
]
