"""What a chat template makes of conversations, and the score contract that follows from it.

Templates that would give wrong scores in silence are refused here.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from music.conversation import Conversation
from music.reward.contract import ContractError, Readout, ScoreContract
from music.reward.fixed_date import require_no_clock

__all__ = ["derive_contract", "ends_of_prefixes", "require_stable_prefixes", "template_ids"]

# The replies end in different ways: only a closing token can end both.
_PROBES = (
    Conversation().user("Name a colour.").assistant("Blue."),
    Conversation().user("Hi!").assistant(" 3 ways:\n1. walk\n").user("\nAnd 4?").assistant("No, only 3!"),
)


def template_ids(tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation]) -> list[list[int]]:
    """Render and tokenize through the template alone, so that no tokenizer adds a second BOS.

    Raises:
        jinja2.TemplateError: The template refuses a conversation.
    """
    if not conversations:
        return []
    messages = [conversation.to_messages() for conversation in conversations]
    # Not verbose: transformers would warn of long conversations, which are shortened later.
    quiet = {"verbose": False}
    rendered: Any = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, tokenizer_kwargs=quiet)
    ids: list[list[int]] = rendered["input_ids"]
    return ids


def derive_contract(tokenizer: PreTrainedTokenizerBase, max_length: int, readout: Readout = "last") -> ScoreContract:
    """Derive the score contract that follows from a tokenizer and its chat template.

    Raises:
        ContractError: There is no chat template or no pad token, the template refuses plain conversations, it reads the
            clock or draws at random, it writes two BOS tokens, it closes assistant messages with no token of its own,
            or that token is the pad token.
    """
    template = tokenizer.chat_template
    if not isinstance(template, str):
        raise ContractError(f"expected a tokenizer with one chat template, got {type(template).__name__}")
    bos, pad = tokenizer.bos_token_id, tokenizer.pad_token_id
    if not isinstance(pad, int):
        raise ContractError(
            "the tokenizer names no pad token. Set one that no conversation contains, as "
            "`tokenizer.pad_token = ...`, and save the tokenizer again."
        )
    require_no_clock(template)
    try:
        rendered = template_ids(tokenizer, _PROBES)
    except TemplateError as error:
        raise ContractError(f"the chat template refuses plain conversations of user and assistant: {error}") from error
    if any(bos is not None and ids[:2] == [bos, bos] for ids in rendered):
        raise ContractError("the chat template writes BOS twice: remove one of them from the template")
    return ScoreContract(
        chat_template_sha256=hashlib.sha256(template.encode()).hexdigest(),
        starts_with_bos=bos is not None and rendered[0][0] == bos,
        reward_token_id=_closing_token(rendered, pad),
        pad_token_id=pad,
        max_length=max_length,
        readout=readout,
    )


def _closing_token(rendered: list[list[int]], pad: int) -> int:
    """Return the token that closes every assistant message."""
    last = {ids[-1] for ids in rendered}
    if len(last) > 1:
        raise ContractError(
            "the chat template closes assistant messages with no token of its own, so there is no token to carry the "
            "reward: end its assistant branch with an end-of-turn token"
        )
    if pad in last:
        raise ContractError(
            f"the pad token (id {pad}) is also the token that closes assistant messages, so pooling would step over "
            f"the reward token: choose another pad token"
        )
    return last.pop()


def ends_of_prefixes(ids: Sequence[int], prefixes: Sequence[Sequence[int]]) -> list[int]:
    """Return the index of the token with which each rendered prefix of a conversation ends in the whole.

    Args:
        ids: The whole conversation, rendered.
        prefixes: The conversation cut after some of its turns, rendered.

    Raises:
        ContractError: One of them is no prefix of the ids.
    """
    if any(ids[: len(prefix)] != prefix for prefix in prefixes):
        raise ContractError(
            "the chat template renders a history differently once more turns follow, so rewards per turn would not be "
            "those of the conversation cut there: use a template whose prefixes stay as they are, or score whole "
            "conversations with the readout `last`"
        )
    return [len(prefix) - 1 for prefix in prefixes]


def require_stable_prefixes(tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a template that renders a history differently once more turns follow.

    Raises:
        ContractError: It does so with plain conversations.
    """
    for probe in _PROBES:
        whole, *prefixes = template_ids(tokenizer, [probe, *(probe.prefix(end) for end in probe.turn_ends)])
        ends_of_prefixes(whole, prefixes)
