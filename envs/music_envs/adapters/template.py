"""`TurnTemplate`: the text of a chat template between two replies, to append a user's turn to a policy's tokens.

The policy's tokens stay as they were sampled. To render the whole conversation again would tokenize it again, and
training could then see other tokens than those that were sampled.
"""

from typing import Any

from transformers import PreTrainedTokenizerBase

from music.conversation import Conversation
from music.errors import InvalidInputError

__all__ = ["TurnTemplate"]

_REPLY = "Blue-green, as it were."
_OPENING = Conversation().user("Hi!").assistant(_REPLY)


class TurnTemplate:
    """The chat template's text from the end of a reply to the beginning of the next.

    Args:
        tokenizer: The policy's.
        **options: Arguments of `apply_chat_template`, including those of the template.

    Raises:
        InvalidInputError: The template leaves a reply out, or closes it differently when more turns follow.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, **options: Any) -> None:
        self._tokenizer = tokenizer
        self._options = options
        ids = self.encode(self._after_reply("And then?"))
        self.closing_id = ids[0]
        """The token that closes a reply."""
        self.closing = str(tokenizer.decode([ids[0]]))
        """The same as text."""

    def between(self, user: str, *, closed: bool) -> str:
        """Return the text between a reply and the next one.

        Args:
            user: The user's message.
            closed: Whether the reply ends with its closing token; a reply that was cut off does not.
        """
        text = self._after_reply(user)
        return text.removeprefix(self.closing) if closed else text

    def encode(self, text: str) -> list[int]:
        """Return the ids of a rendered text."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _after_reply(self, user: str) -> str:
        """Return the text after a reply, up to the next one, with this user message between them."""
        after = self._render(_OPENING.user(user), add_generation_prompt=True).partition(_REPLY)[2]
        end = self._render(_OPENING, add_generation_prompt=False).partition(_REPLY)[2]
        if not end or not after.startswith(end):
            raise InvalidInputError(
                "the chat template leaves a reply out, or does not close it, or closes it differently once more turns "
                "follow, so a user's turn cannot be appended to a policy's own tokens: use another chat template"
            )
        return after

    def _render(self, conversation: Conversation, *, add_generation_prompt: bool) -> str:
        options = {"tokenize": False, "add_generation_prompt": add_generation_prompt} | self._options
        return str(self._tokenizer.apply_chat_template(conversation.to_messages(), **options))
