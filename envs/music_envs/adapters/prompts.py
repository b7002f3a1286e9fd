"""Conversations from the messages that RL libraries hand over."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import ValidationError

from music.conversation import Conversation
from music.errors import InvalidInputError

__all__ = ["read_prompt", "replied"]


def read_prompt(messages: object) -> Conversation:
    """Return the prompt as a conversation that ends with the user.

    Args:
        messages: A list of `{"role", "content"}`, or JSON text of one; further keys are left out.

    Raises:
        InvalidInputError: It is none, or does not end with the user.
    """
    try:
        found: Any = json.loads(messages) if isinstance(messages, str) else messages
        plain = [{"role": m["role"], "content": m["content"]} for m in cast(Sequence[Mapping[str, str]], found)]
        conversation = Conversation.from_messages(plain)
    except (json.JSONDecodeError, TypeError, KeyError, ValidationError) as error:
        raise InvalidInputError(
            f"expected the prompt's messages, as [{{'role': ..., 'content': ...}}, ...] or JSON text of it, "
            f"got {messages!r:.200}: {error}"
        ) from error
    if conversation.next_role != "assistant":
        raise InvalidInputError(f"expected a prompt that ends with the user, got {messages!r:.200}")
    return conversation


def replied(prompt: Conversation, reply: str) -> Conversation | None:
    """Return the prompt with its reply, stripped as models' replies are; None if nothing is left to score."""
    return prompt.assistant(reply.strip()) if reply.strip() else None
