"""Where the sandbox's two small models live; `make backbone` rebuilds them."""

from pathlib import Path

__all__ = ["BACKBONE", "REWARD_MODEL"]

BACKBONE = Path(__file__).parent / "backbone"
"""A language model pretrained on the world's own text: the stand-in for Gemma-2-9B-it."""

REWARD_MODEL = Path(__file__).parent / "reward_model"
"""A reward model trained from it on last-turn-only pairs: the stand-in for a model trained on Skywork's set."""
