"""Checks that turn a row's fields into messages and sides, each failure with its reason.

The vocabulary's own validation would refuse the same rows; these checks come first so that the reason, the field
and what stood there can be told.
"""

import re
from collections.abc import Mapping
from typing import Any, get_args

from music.conversation import Conversation, Message, Role
from music.preferences.problems import RowError, RowProblem

__all__ = ["TRANSCRIPT_START", "read_messages", "read_side", "read_text", "read_transcript"]

_ROLES = get_args(Role)
_TRANSCRIPT_ROLES: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}
_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
TRANSCRIPT_START = re.compile(r"\s*(Human|Assistant):")
"""How a transcript of the HH kind begins."""


def read_text(fields: Mapping[str, Any], name: str) -> str:
    """Return a field that must hold text."""
    value = _required(fields, name)
    if not isinstance(value, str):
        raise RowError(RowProblem.WRONG_TYPE, name, expected="a string", got=type(value).__name__)
    return _not_blank(value, name)


def read_messages(fields: Mapping[str, Any], name: str) -> tuple[Message, ...]:
    """Return a field that must hold a list of `{role, content}`; further keys of a message are left out."""
    value = _required(fields, name)
    if not isinstance(value, list):
        raise RowError(RowProblem.WRONG_TYPE, name, expected="a list of messages", got=type(value).__name__)
    return tuple(_message(item, f"{name}[{index}]") for index, item in enumerate(value))


def read_transcript(fields: Mapping[str, Any], name: str) -> tuple[Message, ...]:
    r"""Return the messages of a transcript, "\n\nHuman: ...\n\nAssistant: ...", each stripped of outer blanks."""
    before, *turns = _TURN.split(read_text(fields, name))
    if before or not turns:
        got = repr(before[:40])
        raise RowError(RowProblem.WRONG_TYPE, name, expected="a transcript that begins with 'Human:'", got=got)
    return tuple(
        Message(role=_TRANSCRIPT_ROLES[speaker], content=_not_blank(text, f"{name}[{index}]").strip())
        for index, (speaker, text) in enumerate(zip(turns[::2], turns[1::2], strict=True))
    )


def read_side(messages: tuple[Message, ...], name: str) -> Conversation:
    """Return the messages as a side of a pair: roles in order, a reply at the end."""
    has_system = bool(messages) and messages[0].role == "system"
    for index, message in enumerate(messages[int(has_system) :]):
        expected = "assistant" if index % 2 else "user"
        if message.role != expected:
            place = f"{name}[{index + int(has_system)}]"
            raise RowError(RowProblem.ROLES_OUT_OF_ORDER, place, expected=f"role {expected!r}", got=repr(message.role))
    if not messages or messages[-1].role != "assistant":
        got = repr(messages[-1].role) if messages else "no message"
        raise RowError(RowProblem.NO_REPLY, name, expected="a last message by the assistant", got=got)
    return Conversation(messages=messages)


def _required(fields: Mapping[str, Any], name: str) -> Any:
    if fields.get(name) is None:
        problem = RowProblem.MISSING_PROMPT if name == "prompt" else RowProblem.MISSING_SIDE
        raise RowError(problem, name, expected="a value", got="null" if name in fields else "no such field")
    return fields[name]


def _message(item: Any, place: str) -> Message:
    if not isinstance(item, dict) or not all(isinstance(item.get(key), str) for key in ("role", "content")):
        got = {key: type(value).__name__ for key, value in item.items()} if isinstance(item, dict) else repr(item)[:40]
        raise RowError(RowProblem.WRONG_TYPE, place, expected="{role: string, content: string}", got=str(got))
    if item["role"] not in _ROLES:
        raise RowError(RowProblem.UNKNOWN_ROLE, place, expected=f"a role of {_ROLES}", got=repr(item["role"]))
    return Message(role=item["role"], content=_not_blank(item["content"], place))


def _not_blank(text: str, place: str) -> str:
    if not text.strip():
        raise RowError(RowProblem.EMPTY_TEXT, place, expected="text", got=repr(text[:40]))
    return text
