"""The settings of the demo. Imports no torch: the command line reads its flags from here."""

from pathlib import Path
from typing import Annotated

from music.config import Config, Flag
from music_trainers.arms import TestSizes

__all__ = ["FULL", "QUICK", "DemoConfig", "DemoSizes"]


class DemoSizes(TestSizes):
    """Sizes of the demo's simulation, training and test sets; simulated sides have `num_turns` turns too."""

    num_base_pairs: int
    """Pairs that differ in the last turn only, on which every arm trains (in place of Skywork's set)."""
    num_contrastive_pairs: int
    """Simulated pairs of each arm, from the same seed contexts."""


FULL = DemoSizes(
    num_base_pairs=1300, num_contrastive_pairs=1800, num_defects=40, num_single_turn=400, num_conversations=150
)
"""The sizes of the demo, which takes some minutes on two cores."""
QUICK = DemoSizes(num_base_pairs=160, num_contrastive_pairs=40, num_defects=4, num_single_turn=40, num_conversations=8)
"""The sizes of a quick run, which takes well under a minute; its figures mean nothing."""


class DemoConfig(Config):
    """Settings of the demo."""

    out: Path = Path("runs/demo")
    """Output folder of the report, the pairs and the models."""
    seed: int = 0
    """Seed of the whole demo."""
    sizes: Annotated[DemoSizes, Flag(is_hidden=True)] = FULL
    """Sizes of simulation, training and test sets."""
