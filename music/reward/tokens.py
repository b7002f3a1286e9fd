"""The one path from messages to tokens, used by trainer, scorer, environments and evaluation.

`ConversationTokenizer` renders a conversation through the model's chat template, once, and keeps it within the score
contract's length. What cannot be encoded is data (`Unscorable`), so that callers count it or refuse it, never lose it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from music.conversation import Conversation
from music.reward.contract import ContractError, ScoreContract

__all__ = ["ConversationTokenizer", "Encoding", "Unscorable", "derive_contract"]

# The replies end in different ways: only a closing token can end both.
_PROBES = (
    Conversation().user("Name a colour.").assistant("Blue."),
    Conversation().user("Hi!").assistant(" 3 ways:\n1. walk\n").user("\nAnd 4?").assistant("No, only 3!"),
)


class Unscorable(StrEnum):
    """Why a conversation has no encoding."""

    OVER_LONG = "over_long"
    """Its last exchange alone is longer than the contract's `max_length`."""
    TEMPLATE_REFUSED = "template_refused"
    """The chat template raises on it; Gemma's, for example, on a system message."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """A conversation as tokens.

    Attributes:
        ids: Token ids, at most `max_length`; the reward is read at the last one.
        num_dropped_turns: Exchanges dropped from the left to fit.
    """

    ids: list[int]
    num_dropped_turns: int = 0


class ConversationTokenizer:
    """Conversations to token ids, under a score contract."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, contract: ScoreContract) -> None:
        """Take a tokenizer that keeps `contract`.

        Raises:
            ContractError: It does not.
        """
        contract.require(derive_contract(tokenizer, contract.max_length))
        self.tokenizer = tokenizer
        self.contract = contract

    @classmethod
    def from_tokenizer(cls, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Self:
        """Derive the contract from the tokenizer itself."""
        return cls(tokenizer, derive_contract(tokenizer, max_length))

    def encode(self, conversations: Sequence[Conversation]) -> list[Encoding | Unscorable]:
        """Render conversations, dropping the oldest exchanges of those that are too long."""
        encodings: list[Encoding | Unscorable] = []
        for conversation, ids in zip(conversations, self._render(conversations), strict=True):
            if isinstance(ids, list) and len(ids) > self.contract.max_length:
                encodings.append(self._shortened(conversation))
            else:
                encodings.append(Encoding(ids) if isinstance(ids, list) else ids)
        return encodings

    def _shortened(self, conversation: Conversation) -> Encoding | Unscorable:
        """Drop as few of the oldest exchanges as will do; one remains at least."""
        head = conversation.messages[: int(conversation.has_system)]
        body = conversation.messages[len(head) :]
        num_turns = conversation.num_turns
        shorter = [Conversation(messages=head + body[2 * n :]) for n in range(1, num_turns)]
        for num_dropped, ids in enumerate(self._render(shorter), start=1):
            if isinstance(ids, list) and len(ids) <= self.contract.max_length:
                return Encoding(ids, num_dropped)
        return Unscorable.OVER_LONG

    def _render(self, conversations: Sequence[Conversation]) -> list[list[int] | Unscorable]:
        """Render conversations in one call, or singly if the template refuses any of them."""
        if not conversations:
            return []
        try:
            return list(_template_ids(self.tokenizer, conversations))
        except TemplateError:
            return [self._render_one(conversation) for conversation in conversations]

    def _render_one(self, conversation: Conversation) -> list[int] | Unscorable:
        try:
            return _template_ids(self.tokenizer, [conversation])[0]
        except TemplateError:
            return Unscorable.TEMPLATE_REFUSED


def derive_contract(tokenizer: PreTrainedTokenizerBase, max_length: int) -> ScoreContract:
    """Derive the score contract that follows from a tokenizer and its chat template.

    Raises:
        ContractError: There is no chat template or no pad token, the template refuses plain conversations, it writes
            two BOS tokens, it closes assistant messages with no token of its own, or that token is the pad token.
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
    try:
        rendered = _template_ids(tokenizer, _PROBES)
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


def _template_ids(tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation]) -> list[list[int]]:
    """Render and tokenize through the template alone, so that no tokenizer adds a second BOS."""
    messages = [conversation.to_messages() for conversation in conversations]
    rendered: Any = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)
    ids: list[list[int]] = rendered["input_ids"]
    return ids
