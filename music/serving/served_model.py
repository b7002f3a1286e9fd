"""`ServedModel`: a loaded reward model and what identifies its scores."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers

from music.reward.model import RewardModel
from music.serving.config import ServingConfig
from music.version import __version__

__all__ = ["ModelLoader", "ServedModel", "load_served"]

ModelLoader = Callable[[str], "ServedModel"]
"""Loads a checkpoint's folder."""


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A reward model as it is served.

    Attributes:
        name: The name that clients see: the path it was loaded from.
        model: The model, with a prefix cache or with deterministic scores.
        fingerprint: Hash of what the scores depend on.
        deterministic: Whether scores are bitwise the same whatever else is scored with them.
    """

    name: str
    model: RewardModel
    fingerprint: str
    deterministic: bool

    def describe(self) -> dict[str, Any]:
        """Return what `GET /contract` tells."""
        return {
            "model": self.name,
            "fingerprint": self.fingerprint,
            "description": self.model.description,
            "deterministic": self.deterministic,
            "contract": self.model.contract.model_dump(),
            "versions": {"music-rm": __version__, "torch": torch.__version__, "transformers": transformers.__version__},
        }


def load_served(path: str, config: ServingConfig) -> ServedModel:
    """Load a checkpoint as a server scores with it.

    Raises:
        InvalidInputError: There is no such checkpoint, or it is not a reward model.
    """
    model = RewardModel.from_pretrained(path, device=config.device)
    if config.cache_tokens != 0:
        model = model.with_prefix_cache(config.cache_tokens, frozen=True)
    return ServedModel(path, model, model.fingerprint, config.deterministic)
