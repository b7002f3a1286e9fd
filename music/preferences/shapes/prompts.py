"""`Prompt`, the messages before the replies of a row: read from text, a transcript or messages."""

import re
from dataclasses import dataclass, field
from typing import Any

from music.preferences.messages import (
    decoded,
    is_transcript,
    parse_message,
    parse_messages,
    parse_transcript,
    read_text,
    required,
)
from music.preferences.problems import RowError, RowProblem
from music.preferences.row_messages import RowMessage
from music.preferences.shapes.shape import Fields

__all__ = ["Prompt", "parse_exchanges", "read_instruction", "read_prompt", "with_system"]

_SYSTEM_COLUMNS = ("system", "system_prompt")
_STEERLM_TURN = re.compile(r"\s*<extra_id_1>(User|Assistant)\s*")


@dataclass(frozen=True, slots=True)
class Prompt:
    """The messages before the replies of a row.

    Attributes:
        messages: The messages.
        transcript: The text of the prompt, if that is a transcript like those of HH.
        is_text: Whether the prompt is a plain text, which is the user's message.
    """

    messages: list[RowMessage]
    transcript: str = field(default="", kw_only=True)
    is_text: bool = field(default=False, kw_only=True)

    def followed_by(self, value: Any, name: str) -> list[RowMessage]:
        """Return the conversation of the prompt and a reply.

        A reply is text, a message, the messages that follow, or the whole conversation.

        Raises:
            RowError: The reply is none of these.
        """
        value = decoded(value, name)
        if isinstance(value, str):
            return self._followed_by_text(value, name)
        messages = [parse_message(value, name)] if isinstance(value, dict) else parse_messages(value, name)
        if not messages or messages[0].role in ("assistant", "tool"):
            return self.messages + messages
        body = [one for one in self.messages if one.role != "system"]
        own_system = [] if messages[0].role == "system" else [one for one in self.messages if one.role == "system"]
        begins_alike = all(map(RowMessage.is_same, [one for one in messages if one.role != "system"], body))
        if self.is_text or (begins_alike and len(messages) > len(body)):
            return own_system + messages
        return self.messages + messages

    def _followed_by_text(self, text: str, name: str) -> list[RowMessage]:
        if self.transcript:
            joint = "" if self.transcript.rstrip().endswith("Assistant:") else "\n\nAssistant:"
            return parse_transcript(self.transcript.rstrip() + joint + " " + text.lstrip(), name)
        if is_transcript(text):
            return parse_transcript(text, name)
        return [*self.messages, RowMessage("assistant", text, name)]


def read_prompt(fields: Fields, name: str) -> Prompt:
    """Read the prompt of a row, and the system message if that has a column of its own.

    Raises:
        RowError: The prompt is missing, or is neither text nor messages.
    """
    value = decoded(required(fields, name), name)
    if isinstance(value, dict | list):
        messages = [parse_message(value, name)] if isinstance(value, dict) else parse_messages(value, name)
        return Prompt(with_system(fields, messages))
    if not isinstance(value, str):
        raise RowError(RowProblem.WRONG_TYPE, name, expected="text or messages", got=type(value).__name__)
    if is_transcript(value):
        messages = parse_transcript(value, name)
        if messages[-1].role == "assistant" and not messages[-1].content:  # the final "Assistant:"
            messages.pop()
        return Prompt(messages, transcript=value)
    if "<extra_id_1>" in value:
        return Prompt(with_system(fields, _steerlm(value, name)))
    return Prompt(with_system(fields, [RowMessage("user", value, name)]), is_text=True)


def read_instruction(fields: Fields) -> Prompt:
    """Read Alpaca's `instruction`, with its input and the history before it if there are any.

    Like LLaMA-Factory, this joins instruction and input by a line break.

    Raises:
        RowError: One of them is invalid.
    """
    asked = [read_text(fields, "instruction")]
    if fields.get("input"):
        asked.append(read_text(fields, "input"))
    history = parse_exchanges(fields.get("history") or [], "history")
    prompt = RowMessage("user", "\n".join(asked), "instruction")
    return Prompt(with_system(fields, [*history, prompt]), is_text=not history)


def parse_exchanges(value: Any, name: str) -> list[RowMessage]:
    """Return the messages of a list of exchanges, each `[request, reply]` or `{"user": request, "bot": reply}`.

    Raises:
        RowError: The value is not such a list.
    """
    messages: list[RowMessage] = []
    for place, exchange in enumerate(value if isinstance(value, list) else [value]):
        texts = [exchange.get("user"), exchange.get("bot")] if isinstance(exchange, dict) else exchange
        if not isinstance(texts, list) or len(texts) != 2 or not all(isinstance(text, str) for text in texts):
            expected = "a request and a reply, [text, text] or {user, bot}"
            raise RowError(RowProblem.WRONG_TYPE, f"{name}[{place}]", expected=expected, got=repr(exchange)[:40])
        messages += [
            RowMessage("user", texts[0], f"{name}[{place}]"),
            RowMessage("assistant", texts[1], f"{name}[{place}]"),
        ]
    return messages


def with_system(fields: Fields, messages: list[RowMessage]) -> list[RowMessage]:
    """Return messages, preceded by the system message in a column of the row unless they begin with one."""
    text = next((text for column in _SYSTEM_COLUMNS if isinstance(text := fields.get(column), str)), "")
    if not text.strip() or (messages and messages[0].role == "system"):
        return messages
    return [RowMessage("system", text, "system"), *messages]


def _steerlm(text: str, name: str) -> list[RowMessage]:
    """Return the messages of a multi-turn prompt in HelpSteer2's notation; the user's message is the first."""
    first, *turns = _STEERLM_TURN.split(text)
    messages = [RowMessage("user", first, f"{name}[0]")]
    for speaker, turn in zip(turns[::2], turns[1::2], strict=True):
        messages.append(RowMessage("user" if speaker == "User" else "assistant", turn, f"{name}[{len(messages)}]"))
    if not messages[-1].content and messages[-1].role == "assistant":
        messages.pop()
    return messages
