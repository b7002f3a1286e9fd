"""The result of an experiment, `NAME.json` after the grid's name."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from music.reward.tokens.contract import Readout
from music.statistics import Estimate
from music_trainers.experiment.arm import ArmSettings
from music_trainers.experiment.grid import Grid
from music_trainers.experiment.hypotheses import HypothesisResult
from music_trainers.experiment.measures import MeasureInfo
from music_trainers.experiment.readouts import ReadoutChoice
from music_trainers.experiment.store import CellFailure

__all__ = ["ArmDifference", "ArmScore", "ArmSummary", "ExperimentResult", "MeasureSummary"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")


class MeasureSummary(_Record):
    """A measure, without the prompts of its items."""

    name: str
    unit: Literal["share", "grade"]
    by_readout: bool
    group: str
    num_items: int
    num_prompts: int
    compared: bool

    @classmethod
    def of(cls, info: MeasureInfo) -> "MeasureSummary":
        """Summarise a measure."""
        fields = info.model_dump(exclude={"clusters"})
        return cls(**fields, num_items=len(info.clusters), num_prompts=len(set(info.clusters)))


class ArmSummary(_Record):
    """An arm or a variation of one, and its training data: means over its seeds."""

    name: str
    description: str
    settings: ArmSettings
    seeds: tuple[int, ...]
    """The seeds without a failure."""
    num_pairs: dict[str, float]
    """Number of pairs by source."""
    num_steps: float
    num_tokens: float
    loss: float
    """Mean Bradley-Terry loss over the last tenth of the steps; 0 without training."""
    seconds: dict[str, float]
    """Duration of `train` and `measure`."""


class ArmScore(_Record):
    """The value of one measure for an arm."""

    arm: str
    readout: Readout
    measure: str
    """For example `relevance, early` or `Best-of-8`."""
    estimate: Estimate
    """Mean over seeds and test items."""
    by_seed: tuple[float, ...]


class ArmDifference(_Record):
    """An exploratory comparison: one arm minus another in one measure."""

    arm: str
    against: str
    readout: Readout
    """The readout of both arms."""
    measure: str
    estimate: Estimate
    """Paired by seed and test item."""
    by_seed: tuple[float, ...]
    p_value: float
    """Two-sided and unadjusted."""

    @property
    def pair(self) -> str:
        """The two arms, in words."""
        return f"{self.arm} against {self.against}"


class ExperimentResult(_Record):
    """The result of an experiment, `NAME.json`."""

    grid: Grid
    measures: list[MeasureSummary]
    arms: list[ArmSummary]
    """The grid's arms, then the variations of its ablations."""
    ablations: dict[str, dict[str, str]]
    """Names of arms by ablation and label."""
    hypotheses: list[HypothesisResult]
    scores: list[ArmScore]
    references: dict[str, dict[str, Estimate]]
    """The results of selectors without a reward model, by selector and measure."""
    readouts: list[ReadoutChoice]
    differences: list[ArmDifference]
    """All comparisons of arms that no hypothesis makes."""
    findings: list[str]
    """The conclusions in sentences, computed from the figures."""
    failures: list[CellFailure]
    versions: dict[str, str]
