"""Conversations within prompts.

Messages stand under a label of their own line, and every line of their text is indented, so that no text can pass for
a label, an end mark or an instruction of the prompt, and the conversation can be read back exactly.
"""

import re
from typing import cast

from music.conversation import Conversation, Message, Role

__all__ = ["quote", "read_quoted"]

_LABEL = re.compile(r"^\[(system|user|assistant|tool)\]$", re.MULTILINE)
_INDENT = "    "


def quote(conversation: Conversation) -> str:
    """Write a conversation out, a label above each message."""
    lines = (f"[{m.role}]\n{_INDENT}" + _text(m).replace("\n", "\n" + _INDENT) for m in conversation.messages)
    return "\n".join(lines)


def _text(message: Message) -> str:
    """Return what a message says, with the tools that it calls as JSON behind it."""
    return "\n".join(filter(None, (message.content, message.tool_calls))) if message.tool_calls else message.content


def read_quoted(prompt: str, tag: str) -> Conversation:
    """Return the conversation that stands between the lines `<tag>` and `</tag>` of a prompt."""
    start, end = f"\n<{tag}>\n", f"\n</{tag}>\n"
    body = prompt.partition(start)[2].partition(end)[0]
    _, *parts = _LABEL.split(body)
    return Conversation(messages=tuple(map(_message, parts[::2], parts[1::2])))


def _message(role: str, body: str) -> Message:
    content = body.removeprefix("\n" + _INDENT).removesuffix("\n").replace("\n" + _INDENT, "\n")
    return Message(role=cast(Role, role), content=content)
