"""The only path from messages to tokens, for training, scoring, environments and evaluation.

`ConversationTokenizer` renders a conversation with the model's chat template and shortens it to the score contract's
`max_length`. A conversation that cannot be encoded gives an `Unscorable`, which callers count or refuse.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Self

from cachetools import LRUCache
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from music.conversation import Conversation
from music.reward.packing import TokenSequence
from music.reward.tokens.contract import ReadAt, Readout, ScoreContract, Unscorable, UnscorableError
from music.reward.tokens.template import (
    derive_contract,
    ends_of_prefixes,
    own_template,
    require_stable_prefixes,
    template_ids,
    up_to_read,
)

__all__ = ["ConversationTokenizer", "Encoding", "has_reply"]

_ODD_CALLS = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
"""What a template raises on tool calls of a shape that it does not expect."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """A conversation as tokens.

    Attributes:
        ids: Token ids, at most `max_length`, up to the last one at which a reward is read.
        reads: Rising indices of the tokens at which rewards are read: the last token alone, or one for each assistant
            turn in `ids`. The score is the mean of the rewards there.
        num_dropped_turns: Number of exchanges that were dropped from the left.

    Example:
        >>> Encoding([5, 8, 2], reads=(2,)).sequence.reads
        (2,)
    """

    ids: list[int]
    reads: tuple[int, ...]
    num_dropped_turns: int = 0

    @property
    def sequence(self) -> TokenSequence:
        """The ids and reads as a sequence to pack."""
        return TokenSequence(self.ids, self.reads)


@dataclass(frozen=True, slots=True)
class _Fit:
    """A conversation shortened to `max_length`, and its token ids."""

    conversation: Conversation
    ids: list[int]
    num_dropped_turns: int = 0

    @property
    def earlier_turns(self) -> tuple[Conversation, ...]:
        """The conversation cut after each assistant turn except the last."""
        kept = self.conversation
        return tuple(kept.prefix(end) for end in kept.turn_ends if end < len(kept.messages))


_Rendered = list[int] | Unscorable


class _Memory:
    """What was rendered lately. The rewards of turns need every beginning of a conversation, and it grows."""

    _MAX_TOKENS = 500_000
    """Some 20 MB."""

    def __init__(self) -> None:
        self._known: LRUCache[Conversation, _Rendered] = LRUCache(self._MAX_TOKENS, getsizeof=_num_tokens)
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        """Copy and pickle empty."""
        return type(self), ()

    def recall(
        self, render: Callable[[Sequence[Conversation]], list[_Rendered]], conversations: Sequence[Conversation]
    ) -> list[_Rendered]:
        """Return what conversations are rendered as; only those that are not known are rendered."""
        with self._lock:
            found = {each: ids for each in conversations if (ids := self._known.get(each)) is not None}
            unknown = [each for each in dict.fromkeys(conversations) if each not in found]
            found |= dict(zip(unknown, render(unknown), strict=True))
            self._known.update((each, found[each]) for each in unknown if _num_tokens(found[each]) < self._MAX_TOKENS)
        return [found[each] for each in conversations]


def _num_tokens(rendered: _Rendered) -> int:
    return len(rendered) if isinstance(rendered, list) else 1


class ConversationTokenizer:
    """Turns conversations into token ids, under a score contract.

    Example:
        >>> tokens = RewardModel.from_pretrained("runs/rm").tokens  # doctest: +SKIP
        >>> tokens.encode([Conversation().user("Hi!").assistant("Hello.")])  # doctest: +SKIP
        [Encoding(ids=[...], reads=(11,), num_dropped_turns=0)]
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, contract: ScoreContract) -> None:
        """Wrap a tokenizer under a contract.

        Raises:
            ContractError: The tokenizer does not match the contract, or the readout needs every turn and the template
                renders a history differently once more turns follow.
        """
        contract.require(derive_contract(tokenizer, contract.max_length, read_at=contract.read_at))
        self.tokenizer = tokenizer
        self.contract = contract
        self._renders_calls = "tool_calls" in own_template(tokenizer)
        self._memory = _Memory()
        if contract.readout != "last":
            require_stable_prefixes(tokenizer, contract)

    @classmethod
    def from_tokenizer(
        cls,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        readout: Readout = "last",
        read_at: ReadAt | None = None,
    ) -> Self:
        """Derive the contract from the tokenizer itself; see `derive_contract`."""
        return cls(tokenizer, derive_contract(tokenizer, max_length, readout, read_at))

    def with_contract(self, **changes: Any) -> Self:
        """Return the same tokenizer under a contract that differs in some fields.

        Raises:
            ContractError: The tokenizer does not match it.
        """
        return type(self)(self.tokenizer, self.contract.model_copy(update=changes))

    @property
    def place(self) -> str:
        """Where rewards are read, as readable text: the contract's `read_at` and the token that closes messages."""
        closing = self.tokenizer.convert_ids_to_tokens(self.contract.reward_token_id)
        words = {
            "last": f"the last token, {closing}",
            "last_non_pad": f"the last token before {closing}, which is the pad token (as vanilla transformers reads)",
            "eos": f"EOS, {closing} (as OpenRLHF reads)",
        }
        return words[self.contract.read_at]

    def encode(
        self, conversations: Sequence[Conversation], *, every_turn: bool | None = None, remember: bool = False
    ) -> list[Encoding | Unscorable]:
        """Render conversations, and drop the oldest exchanges of those that are too long.

        Args:
            conversations: Any conversations. Those that do not end with the assistant give an `Unscorable`.
            every_turn: Whether rewards are read at the end of every assistant turn or only of the last. By default the
                contract's readout decides.
            remember: Whether to keep what is rendered, for conversations whose beginnings are asked for again.

        Raises:
            ContractError: Every turn is read, but the template renders a history differently once more turns follow.
        """
        render = partial(self._memory.recall, self._render) if remember else self._render
        rendered = iter(render([c for c in conversations if has_reply(c)]))
        fits = [self._fit(c, next(rendered)) if has_reply(c) else Unscorable.NO_REPLY for c in conversations]
        if every_turn is None:
            every_turn = self.contract.readout != "last"
        earlier = [fit.earlier_turns if every_turn and isinstance(fit, _Fit) else () for fit in fits]
        prefixes = iter(template_ids(self.tokenizer, [prefix for turns in earlier for prefix in turns]))
        return [
            fit if isinstance(fit, Unscorable) else self._encoding(fit, list(islice(prefixes, len(turns))))
            for fit, turns in zip(fits, earlier, strict=True)
        ]

    def encode_all(
        self,
        conversations: Sequence[Conversation],
        *,
        every_turn: bool | None = None,
        names: Sequence[str] | None = None,
    ) -> list[Encoding]:
        """Render conversations as `encode` does, and raise if one of them has no score.

        Args:
            conversations: Each ends with the assistant.
            every_turn: As in `encode`.
            names: Names of the conversations in errors.

        Raises:
            UnscorableError: A conversation is `Unscorable`.
            ContractError: As `encode`.
        """
        names = names or [f"conversation {index}" for index in range(len(conversations))]
        encodings = self.encode(conversations, every_turn=every_turn)
        for name, encoding in zip(names, encodings, strict=True):
            if isinstance(encoding, Unscorable):
                raise UnscorableError(f"{name} cannot be scored: {encoding} ({self._why(encoding)})")
        return [encoding for encoding in encodings if isinstance(encoding, Encoding)]

    def _fit(self, conversation: Conversation, ids: list[int] | Unscorable) -> _Fit | Unscorable:
        """Drop as few of the oldest exchanges as possible; at least one remains."""
        if isinstance(ids, Unscorable) or len(ids) <= self.contract.max_length:
            return ids if isinstance(ids, Unscorable) else _Fit(conversation, ids)
        shorter = [conversation.without_exchanges(num) for num in range(1, conversation.num_turns)]
        for num_dropped, shorter_ids in enumerate(self._render(shorter), start=1):
            if isinstance(shorter_ids, list) and len(shorter_ids) <= self.contract.max_length:
                return _Fit(shorter[num_dropped - 1], shorter_ids, num_dropped)
        return Unscorable.OVER_LONG

    def _render(self, conversations: Sequence[Conversation]) -> list[list[int] | Unscorable]:
        """Render conversations in one call, or one by one if the template refuses any of them."""
        if not conversations:
            return []
        if not self._renders_calls and any(map(_has_calls, conversations)):
            return [self._render_one(conversation) for conversation in conversations]
        try:
            return list(template_ids(self.tokenizer, conversations))
        except TemplateError:
            return [self._render_one(conversation) for conversation in conversations]
        except _ODD_CALLS:
            if not any(map(_has_calls, conversations)):
                raise
            return [self._render_one(conversation) for conversation in conversations]

    def _render_one(self, conversation: Conversation) -> list[int] | Unscorable:
        if not self._renders_calls and _has_calls(conversation):
            return Unscorable.TOOL_CALLS_NOT_RENDERED
        try:
            return template_ids(self.tokenizer, [conversation])[0]
        except TemplateError:
            return Unscorable.TEMPLATE_REFUSED
        except _ODD_CALLS:
            if not _has_calls(conversation):
                raise
            return Unscorable.TEMPLATE_REFUSED

    def _encoding(self, fit: _Fit, prefixes: Sequence[list[int]]) -> Encoding | Unscorable:
        """Return the encoding with reads where these rendered prefixes end and at the end, if all end as they must."""
        end = [self.contract.reward_token_id]
        if any(ids[-1:] != end for ids in (fit.ids, *prefixes)):
            return Unscorable.REWARD_TOKEN_MISSING
        whole, *cut = (up_to_read(ids, self.contract) for ids in (fit.ids, *prefixes))
        reads = (*ends_of_prefixes(whole, cut), len(whole) - 1)
        return Encoding(whole, reads, fit.num_dropped_turns)

    def _why(self, problem: Unscorable) -> str:
        """Explain a problem to a user."""
        if problem is Unscorable.NO_REPLY:
            return "expected it to end with the assistant"
        if problem is Unscorable.OVER_LONG:
            return f"max_length {self.contract.max_length}"
        if problem is Unscorable.REWARD_TOKEN_MISSING:
            token = self.tokenizer.convert_ids_to_tokens(self.contract.reward_token_id)
            return (
                f"a reply does not end with the reward token {token!r}: the tokenizer merged the template's end of a "
                "message with the reply's own. Strip trailing newlines and spaces from replies, or train with a chat "
                "template that ends messages with a special token"
            )
        return "template"


def has_reply(conversation: Conversation) -> bool:
    """Whether a conversation ends with the assistant, so that there is a reply to score."""
    return bool(conversation.messages) and conversation.messages[-1].role == "assistant"


def _has_calls(conversation: Conversation) -> bool:
    return any(message.tool_calls for message in conversation.messages)
