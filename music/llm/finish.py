"""Finish reasons: how a server says that its model stopped.

OpenAI knows `stop`, `length`, `content_filter`, `tool_calls` and `function_call`. Other servers have words of their
own, and gateways pass them on in either case. Only words that are known to end a whole reply are taken as such: a
reason that nobody has seen before may stand under half a sentence.
"""

from collections.abc import Mapping

from music.llm.chat import ReplyOutcome

__all__ = ["BROKEN_OFF", "outcome_of", "read_finish_reason"]

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


def read_finish_reason(choice: Mapping[str, object]) -> str:
    """Return why the model stopped, as the server has it; empty if it does not say.

    OpenRouter and LiteLLM put the provider's own word beside theirs. LiteLLM's is `stop` for some replies that broke
    off, so the provider's is returned where it is known and worse.
    """
    reason = choice.get("finish_reason")
    if isinstance(reason, dict):  # SGLang's own form: {"type": "length", "length": 16}
        reason = reason.get("type", reason)
    word = "" if reason is None else str(reason)
    extra = choice.get("provider_specific_fields")
    native = extra.get("native_finish_reason") if isinstance(extra, dict) else None
    native = native or choice.get("native_finish_reason")
    if isinstance(native, str) and outcome_of(word) is ReplyOutcome.COMPLETE and _is_worse(native):
        return native
    return word


def outcome_of(reason: str) -> ReplyOutcome | None:
    """Return how a reply ended, by its finish reason; None if it broke off or the reason is not known.

    A server that gives no reason is taken to have finished, as some never give one.
    """
    if reason == "stop":
        return ReplyOutcome.COMPLETE
    word = reason.strip().lower()
    if word in _MISSING:
        return ReplyOutcome.COMPLETE
    # Gemini's endpoint for OpenAI's clients says `content_filter: PROHIBITED_CONTENT`.
    return _OUTCOMES.get(word) or _OUTCOMES.get(word.partition(":")[0])


def _is_worse(native: str) -> bool:
    """Whether a provider's own word says that the reply is not whole."""
    word = native.strip().lower()
    return word in BROKEN_OFF or outcome_of(word) not in (None, ReplyOutcome.COMPLETE)
