"""Loading and saving checkpoints: a vanilla sequence classifier, its tokenizer and its score contract."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import torch
from torch import Tensor
from transformers import PreTrainedModel

from music.errors import InvalidInputError
from music.files import set_ordinary_modes
from music.names import find_model
from music.quiet import quiet_transformers
from music.reward.loading.adapters import is_adapter, load_adapted
from music.reward.loading.architecture import read_config
from music.reward.loading.classifier import load_classifier, require_finite
from music.reward.loading.heads import init_head
from music.reward.loading.tokenizer import load_tokens
from music.reward.loading.weights import find_file
from music.reward.tokens.contract import ReadAt, Readout, ScoreContract
from music.reward.tokens.encoding import ConversationTokenizer

__all__ = ["LoadedCheckpoint", "count_text", "fingerprint", "load_checkpoint", "save_model", "saved_dtype"]

_INCIDENTAL = {"_name_or_path", "transformers_version"}


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """A sequence classifier with one label, and its tokenizer under a score contract.

    Attributes:
        classifier: The model, on the CPU and in eval mode.
        tokens: Its path from messages to tokens.
        new_head: Whether the checkpoint had no score head and got a new one.
    """

    classifier: PreTrainedModel
    tokens: ConversationTokenizer
    new_head: bool


def load_checkpoint(
    path: str | Path,
    *,
    dtype: torch.dtype,
    head_seed: int | None = None,
    max_length: int | None = None,
    readout: Readout | None = None,
    chat_template: str | None = None,
    read_at: ReadAt | None = None,
) -> LoadedCheckpoint:
    """Load a reward model, or a language model to train as one.

    Only safetensors are read, and the checkpoint's own code is never run. PEFT adapters are merged into their base.

    Args:
        path: A local folder or a hub id. `sandbox` is the sandbox's reward model, or its language model to train.
        dtype: Type of the weights in memory.
        head_seed: Seed of a new score head for a language model. Without it, a model without a head is refused.
        max_length: Most tokens of a conversation, for training. It changes no other choice of a saved contract. By
            default that of the contract, else the model's own limit.
        readout: The readout, for training. By default that of the contract, else `last`.
        chat_template: A file or a name (see `music.chat_template`). By default the tokenizer's own. A saved contract
            must have been made with it.
        read_at: The token at which rewards are read. By default that of the contract, else the one that the checkpoint
            implies (see `music.reward.loading.reading`). It must not contradict a saved contract.

    Raises:
        InvalidInputError: There is no such checkpoint, or it is not a causal model with one reward.
        ContractError: Tokenizer and contract do not match, or no contract can be derived from the tokenizer.
    """
    path = find_model(str(path), "reward_model" if head_seed is None else "language_model")
    classifier, has_head, tokenizer_path = _load_weights(path, dtype)
    if not has_head:
        _add_head(path, classifier, head_seed)
    require_finite(path, classifier)
    tokens = load_tokens(
        tokenizer_path,
        classifier.config,
        max_length,
        readout,
        new_head=not has_head,
        chat_template=chat_template,
        read_at=read_at,
    )
    for config in {id(each): each for each in (classifier.config, classifier.config.get_text_config())}.values():
        config.pad_token_id = tokens.contract.pad_token_id
    classifier.train(False)
    return LoadedCheckpoint(classifier, tokens, not has_head)


def _load_weights(path: str, dtype: torch.dtype) -> tuple[PreTrainedModel, bool, str]:
    """Return the classifier, whether the checkpoint has a head, and where its tokenizer is."""
    with quiet_transformers():
        if not is_adapter(path):
            return *load_classifier(path, dtype), path
        classifier, has_head, base = load_adapted(path, dtype)
    return classifier, has_head, path if find_file(path, "tokenizer_config.json") else base


def _add_head(path: str, classifier: PreTrainedModel, seed: int | None) -> None:
    """Give a language model a new head; without a seed, refuse it."""
    if seed is None:
        name = ", ".join(classifier.config.architectures or ()) or classifier.config.model_type
        raise InvalidInputError(
            f"{path}: expected a trained reward model, but {name} lacks score.weight, the head that gives a "
            f"reward. Train a language model first: music train PAIRS --base {path} --out DIR. A model that judges "
            "in writing is not a reward model; music best-of-n takes it as --judge judge:MODEL@URL"
        )
    init_head(classifier, seed)


def saved_dtype(path: str | Path) -> torch.dtype:
    """Return the type of a checkpoint's weights; fp32 for adapters, because bf16 would round their updates away.

    Raises:
        InvalidInputError: There is no such checkpoint.
    """
    path = find_model(str(path))
    saved = torch.float32 if is_adapter(path) else read_config(path).dtype
    return saved if isinstance(saved, torch.dtype) else torch.bfloat16


def save_model(model: Any, tokenizer: Any, directory: str | Path, **options: Any) -> None:
    """Save a model and its tokenizer to a folder, without progress bars and with ordinary file modes.

    Args:
        model: Any `PreTrainedModel`.
        tokenizer: Its tokenizer.
        directory: The folder.
        **options: Options of `PreTrainedModel.save_pretrained`.
    """
    with quiet_transformers():
        model.save_pretrained(directory, **options)
    tokenizer.save_pretrained(directory)
    set_ordinary_modes(Path(directory))


def fingerprint(classifier: PreTrainedModel, contract: ScoreContract) -> str:
    """Return a hash of the weights in memory, the model's configuration and the score contract.

    It does not depend on the checkpoint's path, the device or the reference statistics.
    """
    config: dict[str, Any] = {k: v for k, v in classifier.config.to_dict().items() if k not in _INCIDENTAL}
    choices = [config, contract.model_dump(exclude={"reference"})]
    digest = sha256(orjson.dumps(choices, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS))
    tensors: dict[str, Tensor] = classifier.state_dict()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def count_text(classifier: PreTrainedModel) -> str:
    """Return a model's number of parameters as readable text."""
    count = classifier.num_parameters()
    return f"{count / 1e6:,.1f}M parameters" if count >= 1_000_000 else f"{count / 1e3:.0f}k parameters"
