"""`ChatTokens`: a conversation as the tokens that a policy reads and writes, which are never encoded again."""

from collections.abc import Sequence
from typing import Any

from music.chat_template import template_text
from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.tokens.fixed_date import with_fixed_date
from music_envs.adapters.template import TurnTemplate

__all__ = ["ChatTokens"]


class ChatTokens:
    """A conversation as a policy's chat template writes it, turn by turn.

    Args:
        tokenizer: A tokenizer with a chat template.
        end_ids: Tokens that end a reply; the tokenizer's own end token is added.

    Raises:
        InvalidInputError: There is no template, or it ends the assistant's messages with none of these tokens, or it
            ends a message differently once more turns follow.
    """

    def __init__(self, tokenizer: Any, end_ids: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        # Only during training: the tokenizer that is saved with the policy writes the current date.
        template = template_text(tokenizer, "save the policy's tokenizer with one")
        self._fixed = {"chat_template": with_fixed_date(template)}
        self._template = TurnTemplate(tokenizer, **self._fixed)
        own = () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,)
        self.end_ids: tuple[int, ...] = tuple(dict.fromkeys((*end_ids, *own)))
        self.closing_id: int = self._template.closing_id
        if self.closing_id not in self.end_ids:
            raise InvalidInputError(
                f"expected a chat template that ends replies with a token at which the model stops, one of "
                f"{tokenizer.convert_ids_to_tokens(list(self.end_ids))}, got {self._template.closing!r}"
            )
        self.pad_id: int = self.closing_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    def opening(self, conversation: Conversation) -> list[int]:
        """Return the tokens that the policy reads before its first reply."""
        encoded = self._tokenizer.apply_chat_template(
            conversation.to_messages(), add_generation_prompt=True, return_dict=True, **self._fixed
        )
        return list(encoded["input_ids"])

    def between(self, message: str) -> list[int]:
        """Return the tokens between a reply with its end token and the next reply: those of a user message."""
        return self._template.encode(self._template.between(message, closed=True))

    def text(self, reply: Sequence[int]) -> str:
        """Return a reply's text."""
        text: str = self._tokenizer.decode(reply, skip_special_tokens=True)
        return text.strip()
