"""`Diagnosis`: all that came of `music diagnose`; it is printed, saved and drawn."""

from pydantic import BaseModel, ConfigDict

from music.evaluation.diagnostics.disagreement import Disagreement
from music.evaluation.diagnostics.leakage import Leakage
from music.evaluation.diagnostics.pair_set import PairSet
from music.evaluation.result import Exclusion
from music.report.points import Curve, Histogram
from music.statistics import Figure

__all__ = ["Diagnosis", "ModelDiagnosis"]


class ModelDiagnosis(BaseModel):
    """What is the matter with a reward model, as a set of pairs shows it."""

    model_config = ConfigDict(frozen=True)

    model: str
    """As the user named it."""
    description: str
    fingerprint: str | None
    num_pairs: int
    """That the figures rest on."""
    figures: tuple[Figure, ...]
    """Accuracy first; then by `Figure.table`: length, continuity, turns, history, calibration, distribution, and the
    training set where one was given."""
    curves: tuple[Curve, ...]
    histograms: tuple[Histogram, ...]
    note: str
    """How many verdicts there are, and how many chance alone would put beyond noise."""
    exclusions: tuple[Exclusion, ...]
    """Pairs, and probes, without a score."""
    num_truncated: int
    """Conversations whose score does not see their oldest exchanges, probes included."""
    seconds: float
    """Of scoring; 0 where all scores were there."""


class Diagnosis(BaseModel):
    """What `diagnose` found."""

    model_config = ConfigDict(frozen=True)

    files: tuple[str, ...]
    pair_set: PairSet
    num_pairs_of_all: int | None = None
    """Before prompts were drawn from them; None if none were."""
    leakage: Leakage | None
    """None if no training set was given."""
    models: tuple[ModelDiagnosis, ...]
    disagreement: Disagreement | None
    """None for fewer than two models."""
    exclusions: tuple[Exclusion, ...]
    """Rows that were read as no pair."""
    versions: dict[str, str]
    """Of the packages that the scores were taken with."""
