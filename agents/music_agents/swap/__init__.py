"""Swaps: contrastive pairs from conversations alone, without a model.

The rejected side of a pair has real replies to similar requests of other conversations. Two turns exchange their
replies, so every reply is as often on the chosen side as on the rejected side.

- `config`: the settings; `turns`: the turns of a corpus; `matching`: which of them exchange replies.
- `run`: the pairs on disk; `cli`: `music swap`.
"""

from music_agents.swap.config import SwapConfig
from music_agents.swap.run import make_swaps

__all__ = ["SwapConfig", "make_swaps"]
