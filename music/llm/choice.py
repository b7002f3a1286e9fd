"""Reads one choice of a chat completion: its message and its finish reason. Nothing in it is trusted.

A message's `content` is a text, null, or a list of parts. Refusals, tool calls and thinking have parts or fields of
their own. OpenAI's finish reasons are `stop`, `length`, `content_filter`, `tool_calls` and `function_call`. Other
servers use other words, in upper or lower case. A reply counts as complete only if its reason is known to end a whole
reply: an unknown reason may end half a sentence.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from music.llm.chat import MalformedReplyError, ReplyOutcome

__all__ = ["BROKEN_OFF", "RawMessage", "outcome_of", "read_finish_reason", "read_message"]

BROKEN_OFF = (
    *("error", "abort", "aborted", "cancelled", "canceled", "timeout", "timed_out", "failed", "user_cancel"),
    *("network_error", "insufficient_system_resource", "repetition", "userstopped", "modelunloaded", "unload", "load"),
)
"""Reasons of replies that broke off: vLLM, SGLang, OpenRouter, Mistral; GLM, DeepSeek; LM Studio, Ollama."""
_COMPLETE = (
    "stop",  # OpenAI, vLLM, SGLang, llama.cpp, Ollama, Mistral, DeepSeek, Gemini (STOP)
    *("eos", "eos_token", "eosfound", "stop_sequence", "stopstringfound", "stop_str", "stop_token"),  # TGI, Together
    *("end_turn", "complete", "completed", "finish", "finished", "endoftext", "normal"),  # Anthropic, Cohere, AI21
    "finish_reason_unspecified",  # Gemini's zero value
)
_CUT = (
    *("length", "max_tokens", "max_length", "max_output_tokens", "max_completion_tokens", "model_length"),
    *("model_context_window_exceeded", "context_length", "context_length_exceeded", "contextlengthreached"),
    *("maxpredictedtokensreached", "max_context", "limit", "token_limit", "error_limit", "compaction"),
)
_FILTERED = (
    *("content_filter", "content_filtered", "filtered", "refusal", "sensitive", "guardrail_intervened", "moderation"),
    *("safety", "recitation", "blocklist", "prohibited_content", "spii", "language", "escalation", "other"),  # Gemini
    *("error_toxic", "violation", "blocked"),
)
_TOOL_CALLS = (
    *("tool_calls", "tool_call", "tool_use", "toolcalls", "function_call", "pause_turn"),
    *("function_call_filter", "malformed_function_call", "unexpected_tool_call", "malformed_tool_use"),
)
_OUTCOMES = {
    reason: outcome
    for outcome, reasons in (
        (ReplyOutcome.COMPLETE, _COMPLETE),
        (ReplyOutcome.LENGTH, _CUT),
        (ReplyOutcome.CONTENT_FILTER, _FILTERED),
        (ReplyOutcome.TOOL_CALLS, _TOOL_CALLS),
    )
    for reason in reasons
}
_MISSING = ("", "null", "none")
_MAX_KIND_CHARS = 40
_THINKING_FIELDS = ("reasoning_content", "reasoning", "thinking")  # DeepSeek, vLLM, SGLang; OpenRouter, Groq; Ollama
_THINKING_PARTS = ("thinking", "reasoning", "redacted_thinking")  # Mistral, Anthropic; Databricks
_TEXT_PARTS = ("text", "output_text", "summary_text", "reasoning_text")
_TOOL_PARTS = ("tool_use", "tool_call", "function_call", "toolcall", "server_tool_use")


def read_finish_reason(choice: Mapping[str, object]) -> str:
    """Return the server's finish reason; empty if there is none.

    OpenRouter and LiteLLM report the provider's own word besides theirs. LiteLLM says `stop` for some replies that
    broke off, so the provider's word is returned if it is known and worse.
    """
    reason = choice.get("finish_reason")
    if isinstance(reason, dict):  # SGLang's own form: {"type": "length", "length": 16}
        reason = reason.get("type", reason)
    word = "" if reason is None else str(reason)
    extra = choice.get("provider_specific_fields")
    native = extra.get("native_finish_reason") if isinstance(extra, dict) else None
    native = native or choice.get("native_finish_reason")
    if not isinstance(native, str) or outcome_of(word) is not ReplyOutcome.COMPLETE:
        return word
    is_worse = native.strip().lower() in BROKEN_OFF or outcome_of(native) not in (None, ReplyOutcome.COMPLETE)
    return native if is_worse else word


def outcome_of(reason: str) -> ReplyOutcome | None:
    """Return how a reply with this finish reason ended; None if it broke off or the reason is unknown.

    A reply without a reason counts as complete, as some servers never give one.
    """
    if reason == "stop":
        return ReplyOutcome.COMPLETE
    word = reason.strip().lower()
    if word in _MISSING:
        return ReplyOutcome.COMPLETE
    # Gemini's endpoint for OpenAI's clients says `content_filter: PROHIBITED_CONTENT`.
    return _OUTCOMES.get(word) or _OUTCOMES.get(word.partition(":")[0])


@dataclass(slots=True)
class RawMessage:
    """The content of a message.

    Attributes:
        text: The text, its parts joined.
        thinking: Thinking that the server reports separately.
        is_refusal: Whether a field or part marks a refusal.
        calls_tool: Whether it calls a tool.
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
    thoughts = (message.get(name) for name in _THINKING_FIELDS)
    read = RawMessage(
        thinking=next((thought for thought in thoughts if isinstance(thought, str) and thought), ""),
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
    """Return the text of a thinking part, which is a string or a list of texts under one of several names."""
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
        f"expected a chat completion whose content is text, got content of type {kind[:_MAX_KIND_CHARS]!r}"
    )
