"""`ServedModel`: a loaded reward model and what identifies its scores."""

import logging
import os
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from transformers import PreTrainedTokenizerBase

from music.chat_template import BUILT_IN, choose_template
from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.model import RewardModel
from music.reward.scoring.device import resolve_device
from music.reward.tokens.rendered import RenderedTextParser
from music.reward.tokens.texts import TextTokenizer
from music.serving.config import ServingConfig
from music.version import __version__

__all__ = ["TEST_CONVERSATION", "ServedModel", "load_served", "log_served"]

logger = logging.getLogger(__name__)

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
        policy: Reads text in the policy's chat template; None if the server is told of none.
        floor: The reward of a conversation without a score, in protocols that have no place for its error; None to
            refuse the request.
    """

    name: str
    model: RewardModel
    fingerprint: str
    deterministic: bool
    policy: RenderedTextParser | None = None
    floor: float | None = None

    @cached_property
    def texts(self) -> TextTokenizer:
        """Encodes text in the model's own chat template.

        Raises:
            InvalidInputError: Such text cannot be split into messages.
        """
        return TextTokenizer(self.model.tokens)

    @cached_property
    def parsers(self) -> dict[str, RenderedTextParser]:
        """What reads a policy's text, by whose chat template it is; the likeliest first.

        Raises:
            InvalidInputError: The server is told of no policy, and text in the model's own chat template cannot be
                split into messages.
        """
        if self.policy is None:
            return {"the reward model's": RenderedTextParser(self.model.tokens.tokenizer)}
        parsers = {"the policy's": self.policy}
        with suppress(InvalidInputError):
            parsers["the reward model's"] = RenderedTextParser(self.model.tokens.tokenizer)
        return parsers

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
    policy = _load_policy(config.policy_template, model.tokens.tokenizer) if config.policy_template else None
    served = ServedModel(path, model, model.fingerprint, config.deterministic, policy, config.floor)
    served.check()
    return served


def _load_policy(choice: str, tokenizer: PreTrainedTokenizerBase) -> RenderedTextParser:
    """Return what reads a policy's text; a template without a tokenizer is rendered with the reward model's."""
    if choice not in BUILT_IN and not Path(choice).is_file():
        return RenderedTextParser.load(choice)
    own = deepcopy(tokenizer)
    if choice in BUILT_IN:
        own.add_special_tokens({"additional_special_tokens": list(BUILT_IN[choice][1])})
    own.chat_template = choose_template(own, choice)
    return RenderedTextParser(own)


def log_served(served: ServedModel, config: ServingConfig) -> None:
    """Log what is served, and how much memory it takes if it stays."""
    logger.info("%s: %s", served.name, served.model.description)
    if not config.frozen:
        return
    memory = served.model.memory
    logger.info(
        "frozen on %s, CUDA_VISIBLE_DEVICES=%s: weights %s, prefix cache at most %s, a row's activations about %s",
        served.model.device,
        os.environ.get("CUDA_VISIBLE_DEVICES", "(not set)"),
        *(f"{num_bytes / 2**20:,.1f} MiB" for num_bytes in (memory.weights, memory.cache, memory.row)),
    )


def _state_of_files(path: str) -> dict[str, tuple[int, int, int]]:
    """Return what changes if a file of a folder is written."""
    files = sorted(Path(path).glob("*")) if Path(path).is_dir() else []
    states = {file.name: file.stat() for file in files if file.exists()}
    return {name: (state.st_ino, state.st_size, state.st_mtime_ns) for name, state in states.items()}


def _limit_gpu_memory(share: float, device: str | None) -> None:
    resolved = resolve_device(device)
    if resolved.type != "cuda":
        raise InvalidInputError("--gpu-memory: expected a CUDA device, got the CPU; leave it out")
    torch.cuda.set_per_process_memory_fraction(share, resolved.index)
