"""Conversations from what RL libraries pass: messages, or text that a chat template rendered."""

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
        InvalidInputError: The messages cannot be read, or they end with the assistant.
    """
    try:
        if isinstance(messages, list | tuple):  # Some libraries have models of their own for messages.
            messages = [
                each.model_dump(exclude_none=True) if isinstance(each, BaseModel) else each for each in messages
            ]
        conversation = to_conversation(parse_messages(messages, "prompt"), "prompt")
    except RowError as error:
        raise InvalidInputError(
            f"expected the prompt's messages, as [{{'role': ..., 'content': ...}}, ...] or JSON text of it, "
            f"got {messages!r:.200}: {error}"
        ) from error
    if conversation.next_role != "assistant":
        raise InvalidInputError(f"expected a prompt that ends with the user, got {messages!r:.200}")
    return conversation


def reply_text(content: object) -> str:
    """Return the text of a reply's content, which may be in parts, or absent next to a tool call.

    Raises:
        InvalidInputError: The content, or a part of it, is not text.
    """
    try:
        text = joined_parts(content, "content") if isinstance(content, list) else content
    except RowError as error:
        raise InvalidInputError(f"expected a reply of text, got {content!r:.200}: {error}") from error
    if text is not None and not isinstance(text, str):
        raise InvalidInputError(f"expected a reply of text, got {content!r:.200}")
    return text or ""


def replied(prompt: Conversation, reply: str) -> Conversation | None:
    """Return the prompt with its reply, stripped; None if the reply is blank."""
    return prompt.assistant(reply.strip()) if reply.strip() else None


def read_rendered_prompt(tokenizer: "PreTrainedTokenizerBase", text: str, messages: object) -> Conversation:
    """Return the conversation that a prompt was rendered from.

    Args:
        tokenizer: The policy's.
        text: The rendered prompt.
        messages: The messages it was rendered from, or JSON text of them.

    Raises:
        InvalidInputError: The text is not exactly the messages as the tokenizer's chat template renders them.
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
    """Return the reply of a query; the query is decoded from the ids of the prompt and the reply.

    Raises:
        InvalidInputError: The query does not begin with the prompt.
    """
    seen = str(tokenizer.decode(tokenizer(prompt, add_special_tokens=False)["input_ids"], skip_special_tokens=False))
    if not query.startswith(seen):
        raise InvalidInputError(
            f"expected a query that begins with its prompt, {seen[-100:]!r}, got {query[:200]!r}: if the "
            "prompt was cut to fit, allow longer prompts: a conversation without its beginning cannot be judged"
        )
    return plain_reply(tokenizer, query[len(seen) :])


def plain_reply(tokenizer: "PreTrainedTokenizerBase", text: str) -> str:
    """Return a reply without special tokens, stripped."""
    for token in tokenizer.all_special_tokens:
        text = text.replace(token, "")
    return text.strip()
