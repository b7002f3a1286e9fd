"""Conversations from what RL libraries pass: messages, or the text that a chat template made of them."""

from typing import TYPE_CHECKING

from pydantic import BaseModel

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.preferences.messages import joined_parts, parse_messages
from music.preferences.problems import RowError
from music.preferences.row_messages import to_conversation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["as_prompt", "plain_reply", "read_rendered_prompt", "replied", "reply_of_query", "reply_text"]


def as_prompt(messages: object) -> Conversation:
    """Return the prompt as a conversation that ends with the user or with a tool's result.

    Args:
        messages: A list of `{"role", "content"}`, as dicts or models, or JSON text of one; other keys are ignored.

    Raises:
        InvalidInputError: It is none, or it ends with the assistant.
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
    """Return a message as a dict; some libraries have a model of their own."""
    return message.model_dump(exclude_none=True) if isinstance(message, BaseModel) else message


def reply_text(content: object) -> str:
    """Return the text of a reply's content, which may be in parts, or absent next to a tool call.

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
    """Return the prompt with its reply, stripped; None if nothing is left to score."""
    return prompt.assistant(reply.strip()) if reply.strip() else None


def read_rendered_prompt(tokenizer: "PreTrainedTokenizerBase", text: str, messages: object) -> Conversation:
    """Return the conversation that a prompt was rendered from.

    Args:
        tokenizer: The policy's.
        text: The rendered prompt.
        messages: The messages it was rendered from, or JSON text of them.

    Raises:
        InvalidInputError: The text is not exactly what the tokenizer's chat template makes of the messages.
    """
    prompt = as_prompt(messages)
    made = tokenizer.apply_chat_template(prompt.to_messages(), tokenize=False, add_generation_prompt=True)
    if made != text:
        raise InvalidInputError(
            f"expected the prompt as the tokenizer's chat template renders its messages, {made!r:.200}, got "
            f"{text!r:.200}: give the policy's own tokenizer, and the messages that the prompt was made from"
        )
    return prompt


def reply_of_query(tokenizer: "PreTrainedTokenizerBase", query: str, prompt: str) -> str:
    """Return the reply in a query, which was decoded from the prompt's ids followed by the reply's.

    Raises:
        InvalidInputError: The query does not begin with the prompt.
    """
    seen = str(tokenizer.decode(tokenizer(prompt, add_special_tokens=False)["input_ids"], skip_special_tokens=False))
    if not query.startswith(seen):
        raise InvalidInputError(
            f"expected a query that begins with its prompt, {seen[-100:]!r}, got {query[:200]!r}: was the prompt cut "
            "to fit? Then allow longer ones: a conversation without its beginning cannot be judged"
        )
    return plain_reply(tokenizer, query[len(seen) :])


def plain_reply(tokenizer: "PreTrainedTokenizerBase", text: str) -> str:
    """Return a reply without special tokens, stripped."""
    for token in tokenizer.all_special_tokens:
        text = text.replace(token, "")
    return text.strip()
