"""Tokenizers in: a checkpoint's tokenizer and chat template, under its score contract."""

import logging
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from music.chat_template import choose_template
from music.errors import InvalidInputError
from music.reward.contract import CONTRACT_FILE, ContractError, ReadAt, Readout, ScoreContract
from music.reward.fixed_date import FIXED_DATE, with_fixed_date
from music.reward.reading import settle_reading
from music.reward.template import derive_contract, own_template
from music.reward.tokens import ConversationTokenizer
from music.reward.vocabulary import load_tokenizer

__all__ = ["load_tokens"]

logger = logging.getLogger(__name__)


def load_tokens(
    path: str,
    config: Any,
    max_length: int | None,
    readout: Readout | None,
    *,
    new_head: bool,
    chat_template: str | None = None,
    read_at: ReadAt | None = None,
) -> ConversationTokenizer:
    """Load tokenizer and contract; derive a contract where there is none.

    Args:
        path: Folder or hub id.
        config: Of the model.
        max_length: As in `load_checkpoint`, and so the others.
        readout: Likewise.
        new_head: Whether the head is still to be trained.
        chat_template: Likewise.
        read_at: Likewise.
    """
    tokenizer = load_tokenizer(path, config.get_text_config())
    limit = min(tokenizer.model_max_length, getattr(config.get_text_config(), "max_position_embeddings", 1 << 31))
    file = cached_file(
        path,
        CONTRACT_FILE,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,  # offline, with a cached checkpoint that has no contract
    )
    try:
        if chat_template is not None:
            tokenizer.chat_template = choose_template(tokenizer, chat_template)
        if file is None:
            _fix_date(tokenizer, path)
            place = settle_reading(tokenizer, config, read_at, path=path, new_head=new_head)
            contract = derive_contract(tokenizer, limit, read_at=place)
        else:
            contract = ScoreContract.load(Path(file))
            _require_place(contract, read_at)
        changes: dict[str, Any] = {} if max_length is None else {"max_length": min(max_length, limit)}
        changes |= {} if readout is None else {"readout": readout}
        if changes:
            contract = contract.model_copy(update={**changes, "reference": None})
        tokens = ConversationTokenizer(tokenizer, contract)
    except ContractError as error:
        raise ContractError(f"{path}: {error}") from error
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from error
    if file is None and not new_head:
        logger.warning("%s has no %s: the contract is derived from its tokenizer", path, CONTRACT_FILE)
    if file is None and contract.read_at != "last":
        logger.warning("%s: the reward is read at %s", path, tokens.place)
    return tokens


def _require_place(contract: ScoreContract, read_at: ReadAt | None) -> None:
    """Refuse to read the reward elsewhere than in training."""
    if read_at is not None and read_at != contract.read_at:
        raise ContractError(
            f"its score contract reads the reward at `{contract.read_at}`, got `{read_at}`: leave --read-at out, or "
            f"remove {CONTRACT_FILE} if it is wrong"
        )


def _fix_date(tokenizer: Any, path: str) -> None:
    """Let the template write the same date on every day; a template under a contract stays what it was in training."""
    template = own_template(tokenizer)
    if (fixed := with_fixed_date(template)) != template:
        tokenizer.chat_template = fixed
        logger.warning("%s: its chat template writes today's date; %s is written instead", path, FIXED_DATE)
