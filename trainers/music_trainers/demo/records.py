"""What the demo is asked for and what it found."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from music.statistics import Estimate
from music_trainers.miniature.measures import TestSizes

__all__ = ["FULL", "QUICK", "Accuracy", "BestOfNRow", "DemoConfig", "DemoResult", "DemoSizes", "TrainedArm"]


class DemoSizes(TestSizes):
    """How much the demo simulates, trains on and measures; its simulated sides have `num_turns` turns too."""

    num_base_pairs: int
    """Last-turn-only pairs that every arm trains on (the stand-in for Skywork's)."""
    num_contrastive_pairs: int
    """Simulated pairs that each arm adds, from the same seed contexts."""


FULL = DemoSizes(
    num_base_pairs=1300, num_contrastive_pairs=1800, num_defects=40, num_single_turn=400, num_conversations=150
)
"""The demo: some minutes on two cores."""
QUICK = DemoSizes(num_base_pairs=160, num_contrastive_pairs=40, num_defects=4, num_single_turn=40, num_conversations=8)
"""Everything once, in well under a minute; its figures mean nothing."""


class DemoConfig(BaseModel):
    """Settings of the demo."""

    model_config = ConfigDict(frozen=True)

    out: Path
    """Folder for pairs, models and report."""
    seed: int = 0
    """Of everything."""
    sizes: DemoSizes = FULL


class TrainedArm(BaseModel):
    """One reward model: what it learned from, and its training figures."""

    model_config = ConfigDict(frozen=True)

    name: str
    """`last-turn`, `music` or `mixture`."""
    description: str
    num_pairs: int
    num_steps: int
    num_tokens: int
    seconds: float
    loss: float
    """Mean Bradley-Terry loss over the last tenth of the steps."""


class Accuracy(BaseModel):
    """How often a model ranks the flawless side above the one with a defect."""

    model_config = ConfigDict(frozen=True)

    model: str
    """Arm, or `last-turn, prefix mean`."""
    group: str
    """`relevance`, `count` or `standing`."""
    turn: int
    """The turn that holds the defect, from 1."""
    estimate: Estimate


class BestOfNRow(BaseModel):
    """One selector's Best-of-N."""

    model_config = ConfigDict(frozen=True)

    selector: str
    protocol: str
    """`greedy` (the paper's, per turn) or `whole` (among finished conversations)."""
    num_candidates: int
    score: Estimate
    """Mean oracle score of the selected conversations, in [0, 1]."""
    difference: Estimate | None
    """Paired difference to the last-turn model, where this row is not that."""
    finding: str
    """The difference in words; empty for the last-turn model."""


class DemoResult(BaseModel):
    """What came out; `demo.json` in the output folder."""

    model_config = ConfigDict(frozen=True)

    config: DemoConfig
    arms: list[TrainedArm]
    defects: list[Accuracy]
    single_turn: dict[str, Estimate]
    """Accuracy on held-out single-turn pairs, by model (`start` is the shipped starting model)."""
    best_of_n: list[BestOfNRow]
    findings: list[str]
    """What the figures say, in sentences; computed, not assumed."""
    num_calls: int
    """Calls to the simulated language models over HTTP."""
    seconds: dict[str, float]
    """Wall time of each phase."""
    versions: dict[str, str]
