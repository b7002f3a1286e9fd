"""`TurnTemplate`: what a chat template writes between two replies, so a user's turn can follow a policy's own tokens.

The policy's tokens are kept as they were sampled. Rendering the whole conversation again would tokenize it again, and
the tokens that are trained on would not be those that were sampled.
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
        **options: Of `apply_chat_template`, including the template's own.

    Raises:
        InvalidInputError: The template closes a reply differently once more follows, or leaves the reply out.
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
            closed: Whether the reply already ends with its closing token; one that was cut off does not.
        """
        text = self._after_reply(user)
        return text.removeprefix(self.closing) if closed else text

    def encode(self, text: str) -> list[int]:
        """Return the ids of a rendered text."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _after_reply(self, user: str) -> str:
        """Render a conversation with this user turn, and cut it after the reply before."""
        after = self._render(_OPENING.user(user), add_generation_prompt=True).partition(_REPLY)[2]
        end = self._render(_OPENING, add_generation_prompt=False).partition(_REPLY)[2]
        if not end or not after.startswith(end):
            raise InvalidInputError(
                "the chat template leaves a reply out, or does not close it, or closes it differently once more turns "
                "follow, so a user's turn cannot be put behind a policy's own tokens: use another chat template"
            )
        return after

    def _render(self, conversation: Conversation, *, add_generation_prompt: bool) -> str:
        options = {"tokenize": False, "add_generation_prompt": add_generation_prompt} | self._options
        return str(self._tokenizer.apply_chat_template(conversation.to_messages(), **options))
