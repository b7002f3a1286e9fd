"""Conversations from what RL libraries pass: messages, or text that the policy's chat template rendered."""

from pydantic import BaseModel
from transformers import PreTrainedTokenizerBase

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.preferences.messages import decoded, joined_parts, parse_messages
from music.preferences.problems import RowError
from music.preferences.row_messages import to_conversation
from music.reward.tokens.rendered import RenderedTextError, RenderedTextParser

__all__ = ["as_prompt", "plain_reply", "read_query", "read_rendered_prompt", "replied", "reply_of_query", "reply_text"]


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


def read_query(parser: RenderedTextParser, query: str, prompt: str | None = None, label: object = None) -> Conversation:
    """Return the conversation of a query: a rendered prompt and the reply that a policy gave.

    Args:
        parser: Knows the policy's chat template.
        query: The text, with special tokens.
        prompt: The rendered prompt alone. If it is given, everything after it is the reply, whatever it contains.
        label: If it holds messages, or JSON text of them, the prompt must be exactly these as the template renders
            them. Other labels are ignored.

    Returns:
        The conversation; its reply is stripped, and left out if it is blank.

    Raises:
        InvalidInputError: The query does not begin with the prompt, or one of them is not exactly what the template
            renders.
    """
    if not prompt:
        return parser.parse_query(query)
    asked = read_rendered_prompt(parser, prompt, label) if _holds_messages(label) else parser.parse(prompt)
    if asked.next_role != "assistant":
        raise InvalidInputError(f"expected a prompt that ends with the user, got one that ends with {prompt[-40:]!r}")
    return replied(asked, reply_of_query(parser.tokenizer, query, prompt)) or asked


def _holds_messages(label: object) -> bool:
    """Whether a label is a list of messages or JSON text of one."""
    try:
        found = decoded(label, "label")
    except RowError:
        return False
    return isinstance(found, list) and bool(found) and all(isinstance(each, dict) for each in found)


def read_rendered_prompt(parser: RenderedTextParser, text: str, messages: object) -> Conversation:
    """Return the conversation that a prompt was rendered from.

    Args:
        parser: Knows the policy's chat template.
        text: The rendered prompt.
        messages: The messages it was rendered from, or JSON text of them.

    Raises:
        InvalidInputError: The text is not exactly the messages as the policy's chat template renders them.
    """
    prompt = as_prompt(messages)
    try:
        parser.require(prompt, text)
    except RenderedTextError as error:
        raise InvalidInputError(
            f"expected the prompt that its messages give: {error}. Give the policy's own tokenizer, and the messages "
            "that the prompt was made from"
        ) from error
    return prompt


def reply_of_query(tokenizer: PreTrainedTokenizerBase, query: str, prompt: str) -> str:
    """Return the reply of a query.

    The query is decoded from the ids of the prompt and the reply. Some tokenizers decode a text to another one, so the
    prompt is looked for as it is and as it is decoded.

    Raises:
        InvalidInputError: The query does not begin with the prompt.
    """
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    seen = prompt if query.startswith(prompt) else str(tokenizer.decode(ids, skip_special_tokens=False))
    if not query.startswith(seen):
        raise InvalidInputError(
            f"expected a query that begins with its prompt, {seen[-100:]!r}, got {query[:200]!r}: if the "
            "prompt was cut to fit, allow longer prompts: a conversation without its beginning cannot be judged"
        )
    return plain_reply(tokenizer, query[len(seen) :])


def plain_reply(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """Return a reply without special tokens, stripped."""
    for token in tokenizer.all_special_tokens:
        text = text.replace(token, "")
    return text.strip()
