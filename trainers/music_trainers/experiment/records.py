"""The result of an experiment, `NAME.json` after the grid's name."""

from pydantic import BaseModel, ConfigDict

from music.reward.tokens.contract import Readout
from music.statistics import Estimate
from music_trainers.experiment.grid import ArmSettings, Grid
from music_trainers.experiment.store import CellFailure

__all__ = ["ArmDifference", "ArmScore", "ArmSummary", "ExperimentResult", "KindAccuracy"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")


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
    """Mean over seeds and test conversations."""
    by_seed: tuple[float, ...]


class KindAccuracy(_Record):
    """How often an arm ranks the flawless side above a side with one error of a kind in one turn."""

    arm: str
    readout: Readout
    kind: str
    turn: int
    """From 1."""
    estimate: Estimate


class ArmDifference(_Record):
    """One arm minus another in one measure, or the readout `turn_mean` minus `last` of one arm."""

    arm: str
    against: str
    """The other arm; for readouts, the same arm."""
    readout: Readout
    against_readout: Readout
    measure: str
    estimate: Estimate
    """Paired by seed and test conversation."""
    by_seed: tuple[float, ...]
    p_value: float
    """Two-sided and unadjusted."""
    adjusted_p_value: float
    """Adjusted by Holm's method for all comparisons of the experiment."""
    smallest_found: float | None
    """The true difference that one unadjusted comparison would find four times in five; None if the two are equal on
    every conversation."""

    @property
    def pair(self) -> str:
        """The two sides of the comparison, in words."""
        if self.arm == self.against:
            return f"{self.arm}, read with {self.readout} in place of {self.against_readout}"
        return f"{self.arm} against {self.against}, read with {self.readout}"

    @property
    def is_clear(self) -> bool:
        """Whether it is beyond noise: significant after adjustment, with the same sign in all of several seeds."""
        agree = all(value * self.estimate.value > 0 for value in self.by_seed)
        return self.adjusted_p_value < 0.05 and agree and len(self.by_seed) > 1

    @property
    def verdict(self) -> str:
        """The conclusion, in words."""
        if len(self.by_seed) == 1:
            return "not known, with one seed"
        if not self.is_clear:
            return "within noise"
        return f"{'higher' if self.estimate.value > 0 else 'lower'}, beyond noise"


class ExperimentResult(_Record):
    """The result of an experiment, `NAME.json`."""

    grid: Grid
    arms: list[ArmSummary]
    """The grid's arms, then the variations of its ablations."""
    ablations: dict[str, dict[str, str]]
    """Names of arms by ablation and label."""
    scores: list[ArmScore]
    references: dict[str, dict[str, Estimate]]
    """Mean oracle grade of the selections of `random`, `longest` and `oracle`, by measure."""
    kinds: list[KindAccuracy]
    differences: list[ArmDifference]
    findings: list[str]
    """The conclusions in sentences, computed from the figures."""
    failures: list[CellFailure]
    versions: dict[str, str]
