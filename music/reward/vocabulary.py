"""A checkpoint's tokenizer, and whether the model knows every token that it can give."""

import json
import logging
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from music.errors import InvalidInputError
from music.reward.weights import told

__all__ = ["load_tokenizer"]

logger = logging.getLogger(__name__)


def load_tokenizer(path: str, config: Any) -> Any:
    """Load a checkpoint's tokenizer; none of the checkpoint's own code is run.

    Args:
        path: Folder or hub id.
        config: Of the model that reads the tokens.

    Raises:
        InvalidInputError: There is none, or it gives tokens that the model does not know.
    """
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    # Besides the usual ones: an ImportError on a format whose package is missing, others on damaged files.
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        why = " ".join(str(error).split()).partition(". ")[0][:200]
        raise InvalidInputError(
            f"{path}: expected a tokenizer beside the model, got: {why}. Save the one that the model was trained with "
            "there: tokenizer.save_pretrained(DIR)"
        ) from error
    _fit(path, tokenizer, config.vocab_size)
    return tokenizer


def _fit(path: str, tokenizer: Any, num_rows: int) -> None:
    """Take out added tokens that the model has no embedding for; only text that spells them out would give them.

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
            f"(0 to {num_rows - 1}): {told(needed or beyond)}. Take the tokenizer that the model was trained "
            "with, or resize the model's embedding (resize_token_embeddings) and train it"
        )
    settings = json.loads(tokenizer.backend_tokenizer.to_str())
    settings["added_tokens"] = [each for each in settings["added_tokens"] if each["id"] < num_rows]
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(settings))
    logger.warning("%s: %s is plain text here, as the model has no embedding for it", path, told(beyond))
