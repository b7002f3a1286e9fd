"""Checkpoints in and out: a vanilla sequence classifier, its tokenizer and its score contract."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel
from transformers.utils.hub import cached_file

from music.errors import InvalidInputError
from music.names import require_model
from music.quiet import quiet_transformers
from music.reward.contract import CONTRACT_FILE, ContractError, Readout, ScoreContract
from music.reward.fixed_date import FIXED_DATE, with_fixed_date
from music.reward.template import derive_contract
from music.reward.tokens import ConversationTokenizer

__all__ = ["LoadedCheckpoint", "load_checkpoint"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """A sequence classifier with one label, and how to feed it.

    Attributes:
        classifier: On the CPU, in eval mode.
        tokens: Its path from messages to tokens.
        new_head: Whether the checkpoint had no score head and got one from the seed.
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
) -> LoadedCheckpoint:
    """Load a reward model, or a language model that is to become one.

    Only safetensors are read, and no code of the checkpoint is run.

    Args:
        path: A local folder or a hub id.
        dtype: Of the weights in memory.
        head_seed: Seed of the score head for a language model; without it, a model without a head is refused.
        max_length: Bound on conversations in tokens, for a checkpoint that is to be trained: a contract found beside
            it keeps its other choices. By default the contract's, else the model's own limit.
        readout: For a checkpoint that is to be trained, likewise. By default the contract's, else `last`.

    Raises:
        InvalidInputError: There is no such checkpoint, or it is no causal model with one reward.
        ContractError: Tokenizer and contract do not fit each other, or no contract can be kept.
    """
    require_model(str(path))
    with quiet_transformers():
        classifier, missing = _load_classifier(str(path), dtype)
    new_head = missing == ["score.weight"]
    if missing and not (new_head and head_seed is not None):
        raise InvalidInputError(
            f"{path}: expected a trained reward model, but the checkpoint lacks {', '.join(missing)}. "
            f"A language model must be trained first: music train PAIRS --base {path} --out DIR"
        )
    if new_head:
        _init_head(classifier, head_seed)
    tokens = _load_tokens(str(path), classifier.config, max_length, readout, quiet=new_head)
    classifier.config.pad_token_id = tokens.contract.pad_token_id
    classifier.train(False)
    return LoadedCheckpoint(classifier, tokens, new_head)


def _load_classifier(path: str, dtype: torch.dtype) -> tuple[PreTrainedModel, list[str]]:
    """Load the classifier and name the weights that the checkpoint lacks."""
    try:
        config = AutoConfig.from_pretrained(path)
        if any("Classification" in name for name in config.architectures or ()) and config.num_labels != 1:
            raise InvalidInputError(f"{path}: expected one reward, got a classifier with {config.num_labels} labels")
        classifier, info = AutoModelForSequenceClassification.from_pretrained(
            path,
            num_labels=1,
            problem_type="regression",
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, SafetensorError) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(
            f"{path}: expected a checkpoint in safetensors, local or on the hub: {str(error).partition(chr(10))[0]}"
        ) from error
    if not isinstance(getattr(classifier, "score", None), torch.nn.Linear):
        name = type(classifier).__name__
        raise InvalidInputError(f"{path}: expected a causal model with a `score` head on its last token, got {name}")
    return classifier, sorted(info["missing_keys"])


def _init_head(classifier: Any, seed: int | None) -> None:
    """Draw the head from N(0, 1/(hidden size + 1)): small enough that the first rewards hardly differ."""
    generator = torch.Generator().manual_seed(seed or 0)
    weight = classifier.score.weight
    std = 1 / (weight.shape[1] + 1)
    weight.data = (torch.randn(weight.shape, generator=generator) * std).to(weight.dtype)


def _load_tokens(
    path: str, config: Any, max_length: int | None, readout: Readout | None, *, quiet: bool
) -> ConversationTokenizer:
    """Load tokenizer and contract; derive a contract where there is none."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as error:
        why = str(error).partition("\n")[0]
        raise InvalidInputError(f"{path}: expected a tokenizer beside the model, got: {why}") from error
    limit = min(tokenizer.model_max_length, getattr(config.get_text_config(), "max_position_embeddings", 1 << 31))
    file = cached_file(
        path,
        CONTRACT_FILE,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,  # offline, with a cached checkpoint that has no contract
    )
    try:
        if file is None:
            _fix_date(tokenizer, path)
        contract = derive_contract(tokenizer, limit) if file is None else ScoreContract.load(Path(file))
        changes: dict[str, Any] = {} if max_length is None else {"max_length": min(max_length, limit)}
        changes |= {} if readout is None else {"readout": readout}
        if changes:
            contract = contract.model_copy(update={**changes, "reference": None})
        tokens = ConversationTokenizer(tokenizer, contract)
    except ContractError as error:
        raise ContractError(f"{path}: {error}") from error
    if file is None and not quiet:
        logger.warning("%s has no %s: the contract is derived from its tokenizer", path, CONTRACT_FILE)
    return tokens


def _fix_date(tokenizer: Any, path: str) -> None:
    """Let the template write the same date on every day; a template under a contract stays what it was in training."""
    template = tokenizer.chat_template
    if isinstance(template, str) and (fixed := with_fixed_date(template)) != template:
        tokenizer.chat_template = fixed
        logger.warning("%s: its chat template writes today's date; %s is written instead", path, FIXED_DATE)
