"""How a chat template renders conversations, and the score contract that follows from it.

Templates that would silently give wrong scores are refused here.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from music.chat_template import BUILT_IN, RENDERING_FAULTS, template_text
from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.tokens.contract import ContractError, ReadAt, Readout, ScoreContract
from music.reward.tokens.fixed_date import require_no_clock

__all__ = [
    "closing_token",
    "derive_contract",
    "ends_of_prefixes",
    "own_template",
    "require_stable_prefixes",
    "template_ids",
    "template_texts",
    "up_to_read",
]

# The replies end in different ways: only a closing token can end both.
_PROBES = (
    Conversation().user("Name a colour.").assistant("Blue."),
    Conversation().user("Hi!").assistant(" 3 ways:\n1. walk\n").user("\nAnd 4?").assistant("No, only 3!"),
)
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]{4,}")


def template_ids(tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation]) -> list[list[int]]:
    """Render and tokenize conversations. Only the template adds special tokens, so that there is no second BOS.

    Raises:
        jinja2.TemplateError: The template refuses a conversation.
    """
    if not conversations:
        return []
    # transformers would warn about long conversations, which are shortened later.
    quiet = {"verbose": False}
    rendered = _apply(tokenizer, conversations, tokenize=True, return_dict=True, tokenizer_kwargs=quiet)
    ids: list[list[int]] = rendered["input_ids"]
    return ids


def template_texts(
    tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation], **options: Any
) -> list[str]:
    """Render conversations as text; the options are those of `apply_chat_template`.

    Raises:
        jinja2.TemplateError: The template refuses a conversation.
    """
    texts: list[str] = _apply(tokenizer, conversations, tokenize=False, **options)
    return texts


def _apply(tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation], **options: Any) -> Any:
    messages = [conversation.to_messages() for conversation in conversations]
    try:
        return tokenizer.apply_chat_template(messages, **options)
    except RENDERING_FAULTS as error:
        raise TemplateError(f"{type(error).__name__}: {error}") from error


def own_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the tokenizer's chat template.

    Raises:
        ContractError: The tokenizer has no template, or has several and none is named `default`.
    """
    try:
        return template_text(tokenizer, f"name one with --chat-template, a file or one of {', '.join(BUILT_IN)}")
    except InvalidInputError as error:
        raise ContractError(str(error)) from error


def closing_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the token with which the chat template ends every conversation.

    Raises:
        ContractError: The template reads the clock, draws at random, refuses plain conversations, or has no such token.
    """
    return _closing_token(_render_probes(tokenizer))


def _render_probes(tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    require_no_clock(own_template(tokenizer))
    try:
        texts = template_texts(tokenizer, _PROBES)
        rendered = template_ids(tokenizer, _PROBES)
    except TemplateError as error:
        raise ContractError(f"the chat template refuses plain conversations of user and assistant: {error}") from error
    if any(map(_ADDRESS.search, texts)):
        raise ContractError(
            "the chat template writes a memory address, which differs in each process, and so would the score of the "
            "same text: it prints a function or an object; remove that from the template"
        )
    return rendered


def derive_contract(
    tokenizer: PreTrainedTokenizerBase, max_length: int, readout: Readout = "last", read_at: ReadAt | None = None
) -> ScoreContract:
    """Derive the score contract that follows from a tokenizer and its chat template.

    Args:
        tokenizer: A tokenizer with a chat template and a pad token.
        max_length: Most tokens of a conversation.
        readout: The contract's readout.
        read_at: Where rewards are read; by default where vanilla `transformers` reads.

    Raises:
        ContractError: There is no chat template or no pad token, the reward cannot be read at `read_at`, or the
            template refuses plain conversations, reads the clock, draws at random, writes memory addresses, writes two
            BOS tokens, or closes assistant messages with no token of its own.
    """
    template = own_template(tokenizer)
    bos, pad = tokenizer.bos_token_id, tokenizer.pad_token_id
    if not isinstance(pad, int):
        raise ContractError(
            "the tokenizer names no pad token. Set one that ends no conversation with `tokenizer.pad_token = ...`, and "
            "save the tokenizer again."
        )
    rendered = _render_probes(tokenizer)
    if any(bos is not None and ids[:2] == [bos, bos] for ids in rendered):
        raise ContractError("the chat template writes BOS twice: remove one of them from the template")
    closing = _closing_token(rendered)
    return ScoreContract(
        chat_template_sha256=hashlib.sha256(template.encode()).hexdigest(),
        starts_with_bos=bos is not None and rendered[0][0] == bos,
        read_at=_place(tokenizer, closing, pad, read_at),
        reward_token_id=closing,
        pad_token_id=pad,
        max_length=max_length,
        readout=readout,
    )


def _closing_token(rendered: list[list[int]]) -> int:
    """Return the token that closes every assistant message."""
    last = {ids[-1] for ids in rendered if ids}
    if len(last) != 1:
        raise ContractError(
            "the chat template closes assistant messages with no token of its own, so there is no token to carry the "
            "reward: end its assistant branch with an end-of-turn token"
        )
    return last.pop()


def _place(tokenizer: PreTrainedTokenizerBase, closing: int, pad: int, read_at: ReadAt | None) -> ReadAt:
    """Return where the reward is read. By default it is the last token, unless that is the pad token."""
    if read_at == "eos":
        if closing != tokenizer.eos_token_id:
            raise ContractError("the reward is to be read at EOS, but the chat template does not end with it")
        return "eos"
    if read_at == "last" and closing == pad:
        raise ContractError(
            f"the pad token (id {pad}) is also the token that closes assistant messages, so vanilla transformers would "
            "not read the reward there but before it: choose another pad token, or read at `last_non_pad`"
        )
    return "last_non_pad" if closing == pad else "last"


def up_to_read(ids: list[int], contract: ScoreContract) -> list[int]:
    """Return a rendered conversation up to the token at which its reward is read; later tokens do not matter."""
    if contract.read_at != "last_non_pad":
        return ids
    end = next((place for place in range(len(ids), 1, -1) if ids[place - 1] != contract.pad_token_id), 1)
    return ids[:end]


def ends_of_prefixes(ids: Sequence[int], prefixes: Sequence[Sequence[int]]) -> list[int]:
    """Return the index in a whole conversation of the last token of each rendered prefix.

    Args:
        ids: The whole conversation, rendered.
        prefixes: The conversation cut after some of its turns, rendered.

    Raises:
        ContractError: One of `prefixes` is not a prefix of `ids`.
    """
    if any(ids[: len(prefix)] != prefix for prefix in prefixes):
        raise ContractError(
            "the chat template renders a history differently once more turns follow, so rewards per turn would not be "
            "those of the conversation cut there: use a template whose prefixes stay as they are, or score whole "
            "conversations with the readout `last`"
        )
    return [len(prefix) - 1 for prefix in prefixes]


def require_stable_prefixes(tokenizer: PreTrainedTokenizerBase, contract: ScoreContract) -> None:
    """Check that a template renders a history in the same way whatever follows.

    Raises:
        ContractError: It renders plain conversations differently once more turns follow.
    """
    for probe in _PROBES:
        cut = template_ids(tokenizer, [probe, *(probe.prefix(end) for end in probe.turn_ends)])
        whole, *prefixes = (up_to_read(ids, contract) for ids in cut)
        ends_of_prefixes(whole, prefixes)
