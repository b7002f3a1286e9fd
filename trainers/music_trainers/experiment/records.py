"""What an experiment found: `NAME.json`, after the grid's name."""

from pydantic import BaseModel, ConfigDict

from music.reward.tokens.contract import Readout
from music.statistics import Estimate
from music_trainers.experiment.grid import ArmSettings, Grid
from music_trainers.experiment.store import CellFailure

__all__ = ["ArmDifference", "ArmScore", "ArmSummary", "ExperimentResult", "KindAccuracy"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class ArmSummary(_Record):
    """An arm, or a variation of one, and what it was trained on: means over its seeds."""

    name: str
    description: str
    settings: ArmSettings
    seeds: tuple[int, ...]
    """Those without a failure."""
    num_pairs: dict[str, float]
    """By source."""
    num_steps: float
    num_tokens: float
    loss: float
    """Mean Bradley-Terry loss over the last tenth of the steps; 0 where nothing was trained."""
    seconds: dict[str, float]
    """Of `train` and `measure`."""


class ArmScore(_Record):
    """How an arm does in one measure."""

    arm: str
    readout: Readout
    measure: str
    """For example `relevance, early` or `Best-of-8`."""
    estimate: Estimate
    """Over seeds and test conversations."""
    by_seed: tuple[float, ...]


class KindAccuracy(_Record):
    """How often an arm ranks the flawless side above the one with one error of a kind in one turn."""

    arm: str
    readout: Readout
    kind: str
    turn: int
    """From 1."""
    estimate: Estimate


class ArmDifference(_Record):
    """One arm less another in one measure, or the readout `turn_mean` less `last` of one arm."""

    arm: str
    against: str
    """An arm; for readouts, the arm itself."""
    readout: Readout
    against_readout: Readout
    measure: str
    estimate: Estimate
    """Paired by seed and test conversation."""
    by_seed: tuple[float, ...]
    p_value: float
    """Two-sided, of this comparison alone."""
    adjusted_p_value: float
    """By Holm's method, for all comparisons of the experiment."""
    smallest_found: float | None
    """The true difference that such a comparison, taken alone, would find four times in five; None where no
    conversation distinguishes the two."""

    @property
    def pair(self) -> str:
        """What is compared with what, in words."""
        if self.arm == self.against:
            return f"{self.arm}, read with {self.readout} in place of {self.against_readout}"
        return f"{self.arm} against {self.against}, read with {self.readout}"

    @property
    def is_clear(self) -> bool:
        """Whether it counts as more than noise: significant after adjustment, with one sign in all of several seeds."""
        agree = all(value * self.estimate.value > 0 for value in self.by_seed)
        return self.adjusted_p_value < 0.05 and agree and len(self.by_seed) > 1

    @property
    def verdict(self) -> str:
        """What it shows, in words."""
        if len(self.by_seed) == 1:
            return "not known, with one seed"
        if not self.is_clear:
            return "within noise"
        return f"{'higher' if self.estimate.value > 0 else 'lower'}, beyond noise"


class ExperimentResult(_Record):
    """What an experiment found; `NAME.json`."""

    grid: Grid
    arms: list[ArmSummary]
    """The grid's arms, then the variations of its ablations."""
    ablations: dict[str, dict[str, str]]
    """By ablation and label, the arm."""
    scores: list[ArmScore]
    references: dict[str, dict[str, Estimate]]
    """Mean oracle grade of what `random`, `longest` and `oracle` select, by measure."""
    kinds: list[KindAccuracy]
    differences: list[ArmDifference]
    findings: list[str]
    """What the figures say, in sentences; computed, not assumed."""
    failures: list[CellFailure]
    versions: dict[str, str]
