"""Reads the message of a chat completion, in the shapes in which servers send it, without trust in any of it.

`content` is a text, null, or a list of parts; a refusal, a tool call and the model's thinking stand in parts or in
fields of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from music.llm.chat import MalformedReplyError

__all__ = ["RawMessage", "read_message"]

_MAX_KIND_CHARS = 40
_THINKING_FIELDS = ("reasoning_content", "reasoning", "thinking")  # DeepSeek, vLLM, SGLang; OpenRouter, Groq; Ollama
_THINKING_PARTS = ("thinking", "reasoning", "redacted_thinking")  # Mistral, Anthropic; Databricks
_TEXT_PARTS = ("text", "output_text", "summary_text", "reasoning_text")
_TOOL_PARTS = ("tool_use", "tool_call", "function_call", "toolcall", "server_tool_use")


@dataclass(slots=True)
class RawMessage:
    """What a message holds.

    Attributes:
        text: What is said, its parts joined.
        thinking: What the server hands over as thinking.
        is_refusal: It refuses in a field or part of its own.
        calls_tool: It calls a tool.
    """

    text: str = ""
    thinking: str = ""
    is_refusal: bool = False
    calls_tool: bool = False


def read_message(message: Mapping[str, object]) -> RawMessage:
    """Read a message.

    Raises:
        MalformedReplyError: Its content is not text, such as an image.
    """
    read = RawMessage(
        thinking=_thinking_in_a_field(message),
        is_refusal=bool(message.get("refusal")),
        calls_tool=bool(message.get("tool_calls") or message.get("function_call")),
    )
    content = message.get("content")
    if isinstance(content, list):
        for part in content:
            _add_part(read, part)
    elif isinstance(content, str):
        read.text = content
    elif content is not None:
        raise _not_text(type(content).__name__)
    return read


def _thinking_in_a_field(message: Mapping[str, object]) -> str:
    """Return the thinking that a message has in a field of its own."""
    for name in _THINKING_FIELDS:
        if isinstance(value := message.get(name), str) and value:
            return value
    return ""


def _add_part(read: RawMessage, part: object) -> None:
    """Add one part of a list."""
    if part is None:
        return
    if isinstance(part, str):
        read.text += part
        return
    kind = part.get("type", "text") if isinstance(part, dict) else type(part).__name__
    if not isinstance(part, dict) or not isinstance(kind, str):
        raise _not_text(str(kind))
    if kind in _TEXT_PARTS:
        if not isinstance(text := part.get("text", ""), str | None):
            raise _not_text(f"{kind} of {type(text).__name__}")
        read.text += text or ""
    elif kind in _THINKING_PARTS:
        read.thinking += _thinking_of(part)
    elif kind == "refusal":
        read.is_refusal = True
    elif kind in _TOOL_PARTS:
        read.calls_tool = True
    else:
        raise _not_text(kind)


def _thinking_of(part: Mapping[str, object]) -> str:
    """Return the text of a part that is thinking: under any of its names, itself perhaps a list of texts."""
    for name in ("thinking", "reasoning", "text", "summary"):
        value = part.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, list):
            texts = (each.get("text") for each in value if isinstance(each, dict))
            return "".join(text for text in texts if isinstance(text, str))
    return ""


def _not_text(kind: str) -> MalformedReplyError:
    return MalformedReplyError(
        f"expected a chat completion whose content is text, got content of the kind {kind[:_MAX_KIND_CHARS]!r}"
    )
