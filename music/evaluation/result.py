"""`EvaluationResult`: all that came of an evaluation; it is printed, saved and drawn."""

from pydantic import BaseModel, ConfigDict

from music.evaluation.comparison import Comparison
from music.judges.report import JudgeReport
from music.statistics import Figure

__all__ = ["EvaluationResult", "Exclusion"]


class Exclusion(BaseModel):
    """What was left out for one reason."""

    model_config = ConfigDict(frozen=True)

    stage: str
    """`reading` (rows of files), `scoring` (items) or `probing` (changed items)."""
    reason: str
    num: int
    example: str
    """The first: its file and place, or its id."""


class EvaluationResult(BaseModel):
    """What a model's scores of a benchmark come to."""

    model_config = ConfigDict(frozen=True)

    benchmark: str
    source: str
    """Where the benchmark is from."""
    files: tuple[str, ...]
    model: str
    """As the user named it."""
    description: str
    fingerprint: str | None
    figures: tuple[Figure, ...]
    """The headline first."""
    num_items: int
    """That the figures rest on."""
    num_items_of_all: int | None = None
    """Before prompts were drawn from them; None if none were."""
    num_completions: int
    num_truncated: int
    """Completions whose score does not see their oldest exchanges."""
    exclusions: tuple[Exclusion, ...]
    comparison: Comparison | None = None
    judge: JudgeReport | None = None
    """Who gave the scores, where that was a judge, and how far it can be trusted."""
    seconds: float
    """Of scoring; 0 where all scores were there."""
    versions: dict[str, str]
    """Of the packages that the scores were taken with."""
