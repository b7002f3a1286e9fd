"""A checkpoint's tokenizer and chat template, under its score contract."""

import json
import logging
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer
from transformers.utils.hub import cached_file

from music.chat_template import choose_template
from music.errors import InvalidInputError
from music.reward.loading.reading import settle_reading
from music.reward.loading.weights import listed
from music.reward.tokens.contract import CONTRACT_FILE, ContractError, ReadAt, Readout, ScoreContract
from music.reward.tokens.encoding import ConversationTokenizer
from music.reward.tokens.fixed_date import FIXED_DATE, with_fixed_date
from music.reward.tokens.template import derive_contract, own_template

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
    """Load tokenizer and contract; derive a contract if there is none.

    Args:
        path: Folder or hub id.
        config: The model's configuration.
        max_length: As in `load_checkpoint`.
        readout: As in `load_checkpoint`.
        new_head: Whether the head is untrained.
        chat_template: As in `load_checkpoint`.
        read_at: As in `load_checkpoint`.
    """
    tokenizer = load_tokenizer(path, config.get_text_config())
    limit = min(tokenizer.model_max_length, getattr(config.get_text_config(), "max_position_embeddings", 1 << 31))
    file = _find_contract(path)
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
        tokens = ConversationTokenizer(tokenizer, _changed(contract, max_length and min(max_length, limit), readout))
    except ContractError as error:
        raise ContractError(f"{path}: {error}") from error
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from error
    if file is None and not new_head:
        logger.warning("%s has no %s: the contract is derived from its tokenizer", path, CONTRACT_FILE)
    if file is None and contract.read_at != "last":
        logger.warning("%s: the reward is read at %s", path, tokens.place)
    return tokens


def _find_contract(path: str) -> str | None:
    """Return the file of a checkpoint's contract; None if it has none."""
    return cached_file(
        path,
        CONTRACT_FILE,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,  # offline, with a cached checkpoint that has no contract
    )


def _changed(contract: ScoreContract, max_length: int | None, readout: Readout | None) -> ScoreContract:
    """Return a contract with these settings; the reference rewards of the old ones do not apply to them."""
    settings = {"max_length": max_length, "readout": readout}
    changes: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    return contract.model_copy(update={**changes, "reference": None}) if changes else contract


def _require_place(contract: ScoreContract, read_at: ReadAt | None) -> None:
    """Refuse to read the reward at another token than in training."""
    if read_at is not None and read_at != contract.read_at:
        raise ContractError(
            f"its score contract reads the reward at `{contract.read_at}`, got `{read_at}`: leave --read-at out, or "
            f"remove {CONTRACT_FILE} if it is wrong"
        )


def _fix_date(tokenizer: Any, path: str) -> None:
    """Replace the date in a template that writes today's date. A template under a contract does not change."""
    template = own_template(tokenizer)
    if (fixed := with_fixed_date(template)) != template:
        tokenizer.chat_template = fixed
        logger.warning("%s: its chat template writes today's date; %s is written instead", path, FIXED_DATE)


def load_tokenizer(path: str, config: Any) -> Any:
    """Load a checkpoint's tokenizer; the checkpoint's own code is never run.

    Args:
        path: Folder or hub id.
        config: The configuration of the model that reads the tokens.

    Raises:
        InvalidInputError: There is no tokenizer, or it has tokens that the model does not know.
    """
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    # An ImportError comes from a format whose package is missing; damaged files raise several others.
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        why = " ".join(str(error).split()).partition(". ")[0][:200]
        raise InvalidInputError(
            f"{path}: expected a tokenizer beside the model, got: {why}. Save the one that the model was trained with "
            "there: tokenizer.save_pretrained(DIR)"
        ) from error
    _fit(path, tokenizer, config.vocab_size)
    return tokenizer


def _fit(path: str, tokenizer: Any, num_rows: int) -> None:
    """Remove added tokens without an embedding in the model, if only text that spells them out could produce them.

    Gemma-3's text models, for example, come with a token for images and no embedding for it.
    """
    beyond = {token: index for token, index in tokenizer.get_vocab().items() if index >= num_rows}
    if not beyond:
        return
    written = {token for token in beyond if token in str(tokenizer.chat_template)}
    needed = written.union(beyond.keys() & set(tokenizer.special_tokens_map.values()))
    added = {token.content for token in tokenizer.added_tokens_decoder.values()}
    if not tokenizer.is_fast or set(beyond) - added or needed:
        raise InvalidInputError(
            f"{path}: its tokenizer gives tokens up to {max(beyond.values())}, but the model knows {num_rows} "
            f"(0 to {num_rows - 1}): {listed(needed or beyond)}. Use the tokenizer that the model was trained "
            "with, or resize the model's embedding (resize_token_embeddings) and train it"
        )
    settings = json.loads(tokenizer.backend_tokenizer.to_str())
    settings["added_tokens"] = [each for each in settings["added_tokens"] if each["id"] < num_rows]
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(settings))
    logger.warning("%s: %s is plain text here, as the model has no embedding for it", path, listed(beyond))
