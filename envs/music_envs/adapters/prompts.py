"""Conversations from the messages that RL libraries hand over."""

from pydantic import BaseModel

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.preferences.messages import joined_parts, parse_messages
from music.preferences.problems import RowError
from music.preferences.row_messages import to_conversation

__all__ = ["read_prompt", "replied", "reply_text"]


def read_prompt(messages: object) -> Conversation:
    """Return the prompt as a conversation that ends with the user, or with what a tool returned.

    Args:
        messages: A list of `{"role", "content"}`, as dicts or models, or JSON text of one; further keys are left out.

    Raises:
        InvalidInputError: It is none, or the assistant has answered already.
    """
    try:
        plain = list(map(_plain, messages)) if isinstance(messages, list | tuple) else messages
        conversation = to_conversation(parse_messages(plain, "prompt"), "prompt")
    except RowError as error:
        raise InvalidInputError(
            f"expected the prompt's messages, as [{{'role': ..., 'content': ...}}, ...] or JSON text of it, "
            f"got {messages!r:.200}: {error}"
        ) from error
    if conversation.next_role != "assistant":
        raise InvalidInputError(f"expected a prompt that ends with the user, got {messages!r:.200}")
    return conversation


def _plain(message: object) -> object:
    """Return a message as a dict where a library has a model of its own for them."""
    return message.model_dump(exclude_none=True) if isinstance(message, BaseModel) else message


def reply_text(content: object) -> str:
    """Return the text of a reply's content: in parts perhaps, and none beside a tool call.

    Raises:
        InvalidInputError: It is neither, or a part is no text.
    """
    try:
        text = joined_parts(content, "content") if isinstance(content, list) else content
    except RowError as error:
        raise InvalidInputError(f"expected a reply of text, got {content!r:.200}: {error}") from error
    if text is not None and not isinstance(text, str):
        raise InvalidInputError(f"expected a reply of text, got {content!r:.200}")
    return text or ""


def replied(prompt: Conversation, reply: str) -> Conversation | None:
    """Return the prompt with its reply, stripped as models' replies are; None if nothing is left to score."""
    return prompt.assistant(reply.strip()) if reply.strip() else None
