"""`route_of`: what stays the same of a request as its conversation grows."""

from typing import Any

import orjson

__all__ = ["route_of"]

_FIELDS = ("history", "conversations", "messages", "input", "inputs", "query", "prompt")
"""Where requests of the protocols hold conversations."""
_NUM_CHARS = 512
_NUM_TOKENS = 128
"""Beginning of rendered text that counts. Longer beginnings separate conversations with one system prompt better, but
move a conversation that is still shorter when it grows."""


def route_of(body: bytes) -> str:
    """Return the beginning of a request's first conversation.

    Messages count up to the first one of a user, text up to some hundreds of characters.

    Example:
        >>> route_of(b'{"messages": [{"role": "user", "content": "Hi!"}, {"role": "assistant", "content": "Hello."}]}')
        'Hi!'

    Args:
        body: The body of a request in any protocol.

    Returns:
        The beginning; an empty string if the body has no conversation, which the replica will say.
    """
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(request, dict):
        return ""
    return next((_beginning(request[name]) for name in _FIELDS if request.get(name)), "")


def _beginning(value: Any) -> str:
    while isinstance(value, list) and value and isinstance(value[0], list | str):
        value = value[0]
    if isinstance(value, str):
        return value[:_NUM_CHARS]
    if not isinstance(value, list):
        return ""
    if all(isinstance(each, int) for each in value[:_NUM_TOKENS]):
        return " ".join(map(str, value[:_NUM_TOKENS]))
    parts: list[str] = []
    for message in value:
        if not isinstance(message, dict):
            break
        parts.append(str(message.get("content")))
        if message.get("role") == "user":
            break
    return "\0".join(parts)
