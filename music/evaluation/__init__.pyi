from .benchmarks.pairs import PairBenchmark, pair_item
from .benchmarks.registry import load_benchmark, read_benchmark, register_benchmark
from .benchmarks.scored import ScoredItems
from .benchmarks.types import Benchmark, Item, ItemSet
from .config import DiagnosisConfig, EvaluationConfig, LeaderboardConfig
from .diagnostics.run import run_diagnosis
from .leaderboard import Leaderboard, run_leaderboard
from .result import EvaluationResult, evaluate
from .run import run_evaluation
from .scoring.judged import PairwiseJudge
from .scoring.scorer import ScoredModel, load_scored_model, score_items
from .scoring.store import read_scores

__all__ = ["EvaluationConfig", "EvaluationResult", "evaluate", "run_evaluation"]
__all__ += ["Leaderboard", "LeaderboardConfig", "run_leaderboard"]
__all__ += ["ScoredModel", "load_scored_model", "read_scores", "score_items"]
__all__ += ["Benchmark", "Item", "ItemSet", "PairBenchmark", "ScoredItems", "load_benchmark", "pair_item"]
__all__ += ["DiagnosisConfig", "PairwiseJudge", "read_benchmark", "register_benchmark", "run_diagnosis"]
