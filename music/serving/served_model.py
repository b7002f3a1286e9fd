"""`ServedModel`: a loaded reward model and what identifies its scores."""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Final

import torch
import transformers

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.model import RewardModel
from music.reward.scoring.device import resolve_device
from music.serving.config import ServingConfig
from music.version import __version__

__all__ = ["TEST_CONVERSATION", "ServedModel", "load_served"]

TEST_CONVERSATION: Final = Conversation().user("Hello!").assistant("Hello! How can I help you?")
"""Every reward model can score it."""


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

    def check(self) -> None:
        """Score a conversation, as a test of the whole path.

        Raises:
            InvalidInputError: Its reward is not finite.
            MusicError: It has no reward.
        """
        score = self.model.score([TEST_CONVERSATION])[0]
        if not isfinite(score):
            raise InvalidInputError(f"{self.name}: expected finite rewards, got {score} for a test conversation")

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
    """Load a checkpoint as a server scores with it, and try it.

    Raises:
        InvalidInputError: There is no such checkpoint, it is not a reward model, or its rewards are not finite.
    """
    if config.gpu_memory is not None:
        _limit_gpu_memory(config.gpu_memory, config.device)
    before = _state_of_files(path)
    # A trainer may write its next checkpoint to the same files. A mapped file would change the weights under the
    # server, or end its process.
    attention = "gather" if config.deterministic else None
    model = RewardModel.from_pretrained(path, device=config.device, attention=attention).with_own_weights()
    if _state_of_files(path) != before:
        raise InvalidInputError(f"{path}: its files changed while they were read; load it again once it is saved")
    if config.deterministic:
        model = model.with_deterministic_scores(config.cache_tokens, frozen=True)
    elif config.cache_tokens != 0:
        model = model.with_prefix_cache(config.cache_tokens, frozen=True)
    served = ServedModel(path, model, model.fingerprint, config.deterministic)
    served.check()
    return served


def _state_of_files(path: str) -> dict[str, tuple[int, int, int]]:
    """Return what changes if a file of a folder is written."""
    files = sorted(Path(path).glob("*")) if Path(path).is_dir() else []
    states = {file.name: file.stat() for file in files if file.exists()}
    return {name: (state.st_ino, state.st_size, state.st_mtime_ns) for name, state in states.items()}


def _limit_gpu_memory(share: float, device: str | None) -> None:
    if resolve_device(device).type != "cuda":
        raise InvalidInputError("--gpu-memory: expected a CUDA device, got the CPU; leave it out")
    torch.cuda.set_per_process_memory_fraction(share, device)
