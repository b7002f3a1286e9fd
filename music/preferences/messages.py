"""Reads messages from a row's fields: lists of `{role, content}` or `{from, value}`, as JSON text, and transcripts.

`Conversation` would refuse the same rows. These checks come first so that an error can name the reason, the field and
its value.
"""

import ast
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson

from music.conversation import Conversation, Message, Role
from music.preferences.problems import RowError, RowProblem
from music.preferences.row_messages import RowMessage, require_reply, to_conversation

__all__ = [
    "decoded",
    "is_transcript",
    "joined_parts",
    "parse_message",
    "parse_messages",
    "parse_transcript",
    "read_messages",
    "read_side",
    "read_text",
    "read_transcript",
    "required",
]

_ROLES: dict[str, Role] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatbot", "chatgpt", "function_call"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "function_response", "tool_response", "ipython"), "tool"),
}
_CALL_ROLE = "function_call"  # ShareGPT's: the text of such a message is the call
_MESSAGE_TEXT = re.compile(r"""\s*\[?\s*\{\s*['"](role|content|from|value)['"]\s*:""")
_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
_TRANSCRIPT_ROLES: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}


def required(fields: Mapping[str, Any], name: str) -> Any:
    """Return a field that must have a value."""
    if fields.get(name) is None:
        problem = RowProblem.MISSING_PROMPT if name == "prompt" else RowProblem.MISSING_SIDE
        raise RowError(problem, name, expected="a value", got="null" if name in fields else "no such field")
    return fields[name]


def read_text(fields: Mapping[str, Any], name: str) -> str:
    """Return a field that must hold text."""
    value = required(fields, name)
    if not isinstance(value, str):
        raise RowError(RowProblem.WRONG_TYPE, name, expected="a string", got=type(value).__name__)
    if not value.strip():
        raise RowError(RowProblem.EMPTY_TEXT, name, expected="text", got=repr(value[:40]))
    return value


def read_messages(fields: Mapping[str, Any], name: str) -> tuple[Message, ...]:
    """Return the messages of a field, with roles in order; unknown keys of a message are ignored."""
    return to_conversation(parse_messages(required(fields, name), name), name).messages


def read_transcript(fields: Mapping[str, Any], name: str) -> tuple[Message, ...]:
    r"""Return the messages of a transcript, "\n\nHuman: ...\n\nAssistant: ...", each stripped of outer blanks."""
    return to_conversation(parse_transcript(read_text(fields, name), name), name).messages


def read_side(messages: tuple[Message, ...], name: str) -> Conversation:
    """Return messages as a conversation: roles in order, a reply at the end."""
    parsed = [
        RowMessage(m.role, m.content, f"{name}[{index}]", m.tool_calls, m.tool_call_id, m.name)
        for index, m in enumerate(messages)
    ]
    return require_reply(to_conversation(parsed, name), name)


def decoded(value: Any, name: str) -> Any:
    """Decode a string that holds messages as JSON text (or in Python's notation); return other values unchanged.

    Raises:
        RowError: The string begins like a list of messages, but cannot be decoded.
    """
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        found = None
    items = found if isinstance(found, list) else [found]
    if items and all(isinstance(item, dict) and ("role" in item or "from" in item) for item in items):
        return found
    if not _MESSAGE_TEXT.match(value):
        return value  # a reply may be JSON of any kind
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise RowError(RowProblem.WRONG_TYPE, name, expected="messages, as JSON", got=repr(value[:40])) from None


def parse_messages(value: Any, name: str) -> list[RowMessage]:
    """Return the messages of a list, or of the JSON text of a list."""
    value = decoded(value, name)
    if not isinstance(value, list):
        raise RowError(RowProblem.WRONG_TYPE, name, expected="a list of messages", got=type(value).__name__)
    return [parse_message(item, f"{name}[{index}]") for index, item in enumerate(value)]


def parse_message(item: Any, place: str) -> RowMessage:
    """Return the message of `{role, content}` or `{from, value}`; the content may be a list of text parts."""
    if not isinstance(item, dict):
        raise _no_message(item, place)
    speaker, content = item.get("role", item.get("from")), item.get("content", item.get("value"))
    calls = item.get("tool_calls") or item.get("function_call")
    text = joined_parts(content, place) if isinstance(content, list) else content
    if text is None and calls:
        text = ""
    if not isinstance(speaker, str) or not isinstance(text, str):
        raise _no_message(item, place)
    role = _ROLES.get(speaker.strip().lower())
    if role is None:
        known = ", ".join(_ROLES)
        raise RowError(RowProblem.UNKNOWN_ROLE, place, expected=f"a role of {known}", got=repr(speaker))
    if speaker == _CALL_ROLE and text.strip():
        return RowMessage(role, "", place, tool_calls=_calls_text(text, place))
    if calls and role == "assistant":
        return RowMessage(role, text, place, tool_calls=_calls_text(calls, place))
    if role == "tool":
        return RowMessage(role, text, place, "", str(item.get("tool_call_id") or ""), str(item.get("name") or ""))
    return RowMessage(role, text, place)


def is_transcript(text: str) -> bool:
    """Whether a text is a transcript like those of HH, and not a message that begins with the word Human."""
    return text.startswith(("\n\nHuman:", "\r\n\r\nHuman:")) or (
        text.lstrip().startswith("Human:") and "\n\nAssistant:" in text.replace("\r\n", "\n")
    )


def parse_transcript(text: str, name: str) -> list[RowMessage]:
    r"""Return the messages of "\n\nHuman: ...\n\nAssistant: ...", each stripped of outer blanks."""
    before, *turns = _TURN.split(text.replace("\r\n", "\n"))
    if before or not turns:
        got = repr(before[:40])
        raise RowError(RowProblem.WRONG_TYPE, name, expected="a transcript that begins with 'Human:'", got=got)
    pairs = enumerate(zip(turns[::2], turns[1::2], strict=True))
    return [
        RowMessage(_TRANSCRIPT_ROLES[speaker], text.strip(), f"{name}[{index}]") for index, (speaker, text) in pairs
    ]


def _no_message(item: Any, place: str) -> RowError:
    got = {key: type(value).__name__ for key, value in item.items()} if isinstance(item, dict) else repr(item)[:40]
    return RowError(RowProblem.WRONG_TYPE, place, expected="{role: string, content: string}", got=str(got))


def joined_parts(parts: list[Any], place: str) -> str:
    """Join the text parts of a message, one per line.

    Raises:
        RowError: A part is not text.
    """
    for part in parts:
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            got = part.get("type", str(part)[:40]) if isinstance(part, dict) else type(part).__name__
            raise RowError(RowProblem.WRONG_TYPE, place, expected="content of text parts alone", got=repr(got))
    return "\n".join(part["text"] for part in parts)


def _calls_text(calls: Any, place: str) -> str:
    """Return calls as JSON text in OpenAI's form, but with arguments as objects, which chat templates expect."""
    if isinstance(calls, str):
        try:
            calls = orjson.loads(calls)
        except orjson.JSONDecodeError:
            expected = "tool calls as JSON"
            raise RowError(RowProblem.WRONG_TYPE, place, expected=expected, got=repr(calls[:40])) from None
    return orjson.dumps([_call(call) for call in (calls if isinstance(calls, list) else [calls])]).decode()


def _call(call: Any) -> Any:
    """Return a call in OpenAI's form, without fields that are null (tables write absent fields as null)."""
    call = _without_nulls(call)
    if not isinstance(call, dict):
        return call
    if "function" not in call and "name" in call:
        call = {"type": "function", "function": call}
    function = call.get("function")
    if isinstance(function, dict) and isinstance(arguments := function.get("arguments"), str):
        with suppress(orjson.JSONDecodeError):  # incomplete arguments stay text
            function["arguments"] = orjson.loads(arguments)
    return call


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
