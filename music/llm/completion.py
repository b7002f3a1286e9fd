"""Reads the body of a chat completion. Nothing in it is trusted.

A body with the status 200 may still hold an error, or a reply that broke off; both are failed tries. Bodies larger than
`ClientSettings.max_body_bytes` are refused, so the text of a `ChatReply` is bounded. NUL and lone surrogates in it are
replaced by U+FFFD. Thinking and the marks of chat templates are removed (`music.llm.reading`). `redact` removes the API
key from a text, in case a server echoed it.
"""

import json
from collections.abc import Mapping
from typing import Any

import orjson

from music.llm.chat import (
    ChatReply,
    EndpointError,
    EndpointUnavailableError,
    MalformedReplyError,
    ReplyOutcome,
    TryUsage,
)
from music.llm.choice import BROKEN_OFF, RawMessage, outcome_of, read_finish_reason, read_message
from music.llm.logprobs import keep_said, read_logprobs
from music.llm.reading import read_text
from music.llm.retry import FailedTryError
from music.llm.server_errors import (
    Redact,
    error_excerpt,
    error_of_status,
    excerpt_of,
    printable,
    reported_error,
    status_of,
)

__all__ = ["read_completion"]

_MAX_BEGINNING_CHARS = 80
_MAX_MODEL_CHARS = 200
_MAX_TOKENS = 2**53
_EXPECTED = "expected a chat completion with choices[0].message.content"


def read_completion(body: bytes, endpoint: str, model: str, redact: Redact) -> ChatReply:
    """Read a chat completion.

    Args:
        body: The body of an answer with the status 200.
        endpoint: The endpoint's name, for errors.
        model: The model's name, if the body has none.
        redact: Removes the key from a text.

    Raises:
        FailedTryError: It is not a chat completion, or holds an error or half a reply. Another try may succeed.
        RequestRejectedError: It holds an error that every try would get.
    """
    usage = None
    try:
        fields = _read_json(body, redact)
        usage = _read_usage(fields.get("usage"))
        choices = fields.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        choice = first if isinstance(first, dict) else {}
        if error := reported_error(fields, choice):
            said = f"{endpoint}: HTTP 200 with an error: {excerpt_of(error, redact)}"
            raise error_of_status(status_of(error), said, body, usage=usage)
        return _read_reply(fields, choice, usage or TryUsage(), model, redact)
    except _NotACompletionError:
        failure: EndpointError = MalformedReplyError(f"{endpoint}: {_EXPECTED}, got: {error_excerpt(body, redact)}")
    except (EndpointUnavailableError, MalformedReplyError) as error:
        failure = type(error)(f"{endpoint}: {error}")
    raise FailedTryError(failure, usage=usage, may_be_paid=True)


class _NotACompletionError(Exception):
    """The body has another shape than a chat completion."""


def _read_reply(
    fields: Mapping[str, Any], choice: Mapping[str, Any], usage: TryUsage, model: str, redact: Redact
) -> ChatReply:
    """Read the reply of a choice.

    Raises:
        EndpointUnavailableError: It broke off.
        MalformedReplyError: Its finish reason is unknown, or it is not text.
    """

    def clean(text: str) -> str:
        return redact(_clean(text))

    end = _end(choice, redact)
    message = read_message(_message(choice, end))
    # Redact first: text that is removed or inserted later could split the key and hide it from `redact`.
    thinking = clean(message.thinking) if message.thinking else ""
    reading = read_text(clean(message.text), _outcome(end, message), thinking)
    logprobs = read_logprobs(choice, clean)
    answered_by = fields.get("model")
    if isinstance(answered_by, str) and answered_by not in ("", model):
        model = clean(answered_by[:_MAX_MODEL_CHARS])
    return ChatReply(
        text=reading.text,
        outcome=reading.outcome,
        model=model,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        thinking=reading.thinking,
        cleaned=reading.cleaned,
        logprobs=logprobs if reading.said == message.text else keep_said(logprobs, reading.said),
    )


def _end(choice: Mapping[str, Any], redact: Redact) -> ReplyOutcome:
    """Return how a reply ended, by its finish reason.

    Raises:
        EndpointUnavailableError: It broke off.
        MalformedReplyError: The reason is unknown.
    """
    reason = read_finish_reason(choice)
    end = outcome_of(reason)
    if end is not None:
        return end
    shown = printable(reason, redact)
    if reason.strip().lower() in BROKEN_OFF:
        raise EndpointUnavailableError(f"the reply broke off (finish_reason {shown!r})")
    raise MalformedReplyError(f"the reply has the unknown finish_reason {shown!r}, so it may be half of one")


def _message(choice: Mapping[str, Any], end: ReplyOutcome) -> Mapping[str, Any]:
    """Return the message of a choice; Gemini's endpoint sends none with a filtered reply."""
    message = choice.get("message")
    if message is None and end is not ReplyOutcome.COMPLETE:
        return {}
    if not isinstance(message, dict):
        raise _NotACompletionError
    return message


def _outcome(end: ReplyOutcome, message: RawMessage) -> ReplyOutcome:
    """Return how a reply ended, by its finish reason and its content."""
    if end is not ReplyOutcome.COMPLETE:
        return end
    if message.calls_tool:
        return ReplyOutcome.TOOL_CALLS
    return ReplyOutcome.CONTENT_FILTER if message.is_refusal else end


def _read_json(body: bytes, redact: Redact) -> Mapping[str, Any]:
    """Parse a body into its JSON object.

    Raises:
        MalformedReplyError: It is not JSON.
    """
    try:
        fields = orjson.loads(body)
    except ValueError:
        try:
            fields = json.loads(body)  # unlike orjson, accepts the lone surrogates that some servers cut emoji into
        except (ValueError, RecursionError) as error:
            begins = printable(body.decode("utf-8", "replace"), redact)[:_MAX_BEGINNING_CHARS]
            shown = f"; it begins {begins!r}" if begins else ""
            raise MalformedReplyError(f"the reply's body of {len(body)} bytes is not JSON: {error}{shown}") from None
    if not isinstance(fields, dict):
        raise _NotACompletionError
    return fields


def _clean(text: str) -> str:
    """Replace NUL and characters that UTF-8 cannot encode."""
    if text.isascii() and "\0" not in text:
        return text
    text = text.replace("\0", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _read_usage(usage: object) -> TryUsage | None:
    """Return the tokens that a try used; None if the server reports none."""
    if not isinstance(usage, dict):
        return None
    prompt, completion = _num_tokens(usage, "prompt_tokens"), _num_tokens(usage, "completion_tokens")
    if not prompt and not completion:
        return None
    # OpenAI, vLLM and SGLang; DeepSeek; Anthropic.
    cached = (
        _num_tokens(usage.get("prompt_tokens_details"), "cached_tokens")
        or _num_tokens(usage, "prompt_cache_hit_tokens")
        or _num_tokens(usage, "cache_read_input_tokens")
    )
    return TryUsage(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=min(cached, prompt))


def _num_tokens(usage: object, name: str) -> int:
    """Return a valid count, else 0."""
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if type(count) is int and 0 <= count < _MAX_TOKENS else 0
