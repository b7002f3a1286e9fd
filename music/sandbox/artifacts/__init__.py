"""The paths of the sandbox's two small models; `make backbone` rebuilds them."""

from pathlib import Path

__all__ = ["BACKBONE", "REWARD_MODEL"]

BACKBONE = Path(__file__).parent / "backbone"
"""A language model pretrained on the world's own text, in place of Gemma-2-9B-it."""

REWARD_MODEL = Path(__file__).parent / "reward_model"
"""A reward model trained from it on pairs that differ in the last turn, in place of one trained on Skywork's set."""
