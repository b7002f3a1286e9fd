"""Checkpoints in and out: a vanilla sequence classifier, its tokenizer and its score contract."""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from music.errors import InvalidInputError
from music.names import require_model
from music.quiet import quiet_transformers
from music.reward.classifier import init_head, load_classifier
from music.reward.contract import ReadAt, Readout
from music.reward.tokenizer import load_tokens
from music.reward.tokens import ConversationTokenizer

__all__ = ["LoadedCheckpoint", "load_checkpoint"]


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
    chat_template: str | None = None,
    read_at: ReadAt | None = None,
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
        chat_template: A file, or a name (see `music.chat_template`); by default the tokenizer's own. A contract beside
            the checkpoint must have been made with it.
        read_at: At which token rewards are read; by default as the contract or else the checkpoint says (see
            `music.reward.reading`). A contract must not say otherwise.

    Raises:
        InvalidInputError: There is no such checkpoint, or it is no causal model with one reward.
        ContractError: Tokenizer and contract do not fit each other, or no contract can be kept.
    """
    require_model(str(path))
    with quiet_transformers():
        classifier, missing = load_classifier(str(path), dtype)
    new_head = missing == ["score.weight"]
    if missing and not (new_head and head_seed is not None):
        raise InvalidInputError(
            f"{path}: expected a trained reward model, but the checkpoint lacks {', '.join(missing)}. "
            f"A language model must be trained first: music train PAIRS --base {path} --out DIR"
        )
    if new_head:
        init_head(classifier, head_seed)
    tokens = load_tokens(
        str(path),
        classifier.config,
        max_length,
        readout,
        new_head=new_head,
        chat_template=chat_template,
        read_at=read_at,
    )
    for config in {id(each): each for each in (classifier.config, classifier.config.get_text_config())}.values():
        config.pad_token_id = tokens.contract.pad_token_id
    classifier.train(False)
    return LoadedCheckpoint(classifier, tokens, new_head)
