"""Tokenizers in: a checkpoint's tokenizer and chat template, under its score contract."""

import logging
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from music.reward.contract import CONTRACT_FILE, ContractError, Readout, ScoreContract
from music.reward.fixed_date import FIXED_DATE, with_fixed_date
from music.reward.template import derive_contract
from music.reward.tokens import ConversationTokenizer
from music.reward.vocabulary import open_tokenizer

__all__ = ["load_tokens"]

logger = logging.getLogger(__name__)


def load_tokens(
    path: str, config: Any, max_length: int | None, readout: Readout | None, *, quiet: bool
) -> ConversationTokenizer:
    """Load tokenizer and contract; derive a contract where there is none."""
    tokenizer = open_tokenizer(path, config.get_text_config())
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
