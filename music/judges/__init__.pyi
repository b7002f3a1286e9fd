from .model import Judgement, JudgeModel, Problem, open_judge_model
from .pairwise import PairJudgement, PairwiseJudge
from .pointwise import PointwiseJudge
from .reliability import JudgeReport
from .settings import JudgeSettings, read_judge

__all__ = ["JudgeModel", "JudgeReport", "JudgeSettings", "Judgement", "PairJudgement", "PairwiseJudge"]
__all__ += ["PointwiseJudge", "Problem", "open_judge_model", "read_judge"]
