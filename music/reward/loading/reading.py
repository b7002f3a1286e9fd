"""At which token the reward of a checkpoint without a score contract is read.

Vanilla `transformers` reads a sequence at its last token that is not the configuration's `pad_token_id`. That is before
the end of the conversation if the pad token also closes messages, as in TRL's models for Llama 3.

OpenRLHF reads at EOS: it strips newlines from the end of the rendered text, and appends a space and EOS if the text
does not end with EOS. `with_eos_ending` writes this into the template, so that all software renders it in this way.
"""

import logging
import re
from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedTokenizerBase

from music.reward.tokens.contract import ContractError, ReadAt
from music.reward.tokens.template import closing_token, own_template

__all__ = ["settle_reading", "with_eos_ending"]

logger = logging.getLogger(__name__)

_COMMENT = "{#- Ends with EOS, where the reward is read: newlines at the end are dropped. -#}"
# `trim_blocks` drops the newline after the first tag; `+` keeps what `lstrip_blocks` would drop before the last one.
_BEGIN = _COMMENT + "{%- set whole_conversation %}\n"
_END = (
    "{%+ endset %}"
    "{%- if add_generation_prompt %}{{- whole_conversation }}"
    r"{%- else %}{%- set ended = whole_conversation.rstrip('\n') %}"
    "{{- ended }}{{- '' if ended.endswith(eos_token) else ' ' + eos_token }}{%- endif %}"
)

_SPARE = (re.compile("pad", re.IGNORECASE), re.compile("unused|reserved", re.IGNORECASE))
"""Names of special tokens that no template writes, the best first."""


def settle_reading(
    tokenizer: PreTrainedTokenizerBase, config: Any, read_at: ReadAt | None, *, path: str, new_head: bool
) -> ReadAt:
    """Return where the reward is read, and set the tokenizer's pad token and template accordingly.

    Args:
        tokenizer: The tokenizer, which is changed in place.
        config: The model's configuration.
        read_at: The user's choice, if any.
        path: The checkpoint's name in messages.
        new_head: Whether the head is untrained, so that the reward can be read anywhere.

    Raises:
        ContractError: The reward cannot be read there, or there is no token to pad with.
    """
    # OpenRLHF leaves these fields in `config.json`.
    if read_at is None and (hasattr(config, "value_head_prefix") or hasattr(config, "normalize_reward")):
        read_at = "eos"
    if read_at == "eos":
        if not isinstance(tokenizer.eos_token, str):
            raise ContractError("the reward is to be read at EOS, but the tokenizer has no EOS token")
        tokenizer.chat_template = with_eos_ending(own_template(tokenizer))
    closing = closing_token(tokenizer)
    in_config, in_tokenizer = _pad_of(config, tokenizer), tokenizer.pad_token_id
    named = [in_tokenizer, in_config] if new_head else [in_config, in_tokenizer]
    reads_before = read_at == "last_non_pad" or (read_at is None and not new_head and in_config == closing)
    pad: int | None = closing
    if not (reads_before and closing in named):
        candidates = (pad for pad in (*named, *_spare_tokens(tokenizer)) if pad is not None and pad != closing)
        pad = next(candidates, closing if closing in named else None)
        reads_before = pad == closing and read_at is None and new_head
    if pad is None:
        raise ContractError(
            "the tokenizer names no pad token and has no token to spare. Add one, as "
            "`tokenizer.add_special_tokens({'pad_token': '<pad>'})`, save the tokenizer again, and resize the model's "
            "embeddings"
        )
    _set_pad(tokenizer, pad, path)
    if read_at == "eos":
        return "eos"
    return "last_non_pad" if reads_before else "last"


def _pad_of(config: Any, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the pad token that the model's configuration names, if it is a token."""
    pad = getattr(config.get_text_config(), "pad_token_id", None)
    return pad if isinstance(pad, int) and 0 <= pad < len(tokenizer) else None


def _spare_tokens(tokenizer: PreTrainedTokenizerBase) -> Iterator[int]:
    """Yield tokens to pad with, the best first; a pad token must only differ from the last one of a conversation."""
    added = tokenizer.added_tokens_decoder
    for pattern in _SPARE:
        yield from (index for index, token in added.items() if token.special and pattern.search(token.content))
    yield from (index for index in (tokenizer.unk_token_id, tokenizer.eos_token_id) if isinstance(index, int))


def _set_pad(tokenizer: PreTrainedTokenizerBase, pad: int, path: str) -> None:
    """Let the tokenizer pad with the token that the model's pooling skips."""
    if tokenizer.pad_token_id == pad:
        return
    before, token = tokenizer.pad_token, str(tokenizer.convert_ids_to_tokens(pad))
    tokenizer.pad_token = token
    logger.warning("%s: the pad token is %s; its tokenizer names %s", path, token, before or "none")


def with_eos_ending(template: str) -> str:
    """Return a chat template that ends conversations with EOS; one that this function made is returned unchanged."""
    return template if template.startswith(_COMMENT) else _BEGIN + template + _END
