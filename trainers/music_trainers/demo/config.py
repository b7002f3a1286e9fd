"""What the demo is asked for. Light: the command line imports it for its flags."""

from pathlib import Path
from typing import Annotated

from music.config import Config, Flag
from music_trainers.arms import TestSizes

__all__ = ["FULL", "QUICK", "DemoConfig", "DemoSizes"]


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


class DemoConfig(Config):
    """Settings of the demo."""

    out: Path = Path("runs/demo")
    """Folder of the report and of all that the demo makes."""
    seed: int = 0
    """Of everything in the demo."""
    sizes: Annotated[DemoSizes, Flag(is_hidden=True)] = FULL
    """How much it simulates, trains on and measures."""
