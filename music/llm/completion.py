"""Reads the body of a chat completion. Nothing in it is trusted.

The text of a `ChatReply` is bounded, since its body is (`ClientSettings.max_body_bytes`; a larger one is a
`MalformedReplyError`). NUL and lone surrogates in it are replaced by U+FFFD, and chat templates' control tokens get a
space that makes them plain text (`music.llm.sanitise`). `redact` takes the API key out of a text, should a server have
echoed it.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from music.llm.chat import ChatReply, MalformedReplyError, ReplyOutcome, TryUsage
from music.llm.logprobs import read_logprobs
from music.llm.sanitise import neutralise

__all__ = ["error_excerpt", "read_completion", "read_usage"]

_MAX_EXCERPT_CHARS = 300
_MAX_MODEL_CHARS = 200
_MAX_TOKENS = 2**53
_OUTCOMES = {"length": ReplyOutcome.LENGTH, "content_filter": ReplyOutcome.CONTENT_FILTER}


def read_completion(body: bytes, model: str, redact: Callable[[str], str]) -> ChatReply:
    """Read a chat completion; `model` names the model if the body does not.

    Raises:
        MalformedReplyError: The body is not JSON, or not that of a chat completion.
    """
    fields = _read_json(body)
    try:
        choice = fields["choices"][0]
        content, finish_reason = choice["message"].get("content"), choice.get("finish_reason")
        refusal = choice["message"].get("refusal")
    except (AttributeError, KeyError, IndexError, TypeError):
        raise _not_a_completion(body, redact) from None
    if content is not None and not isinstance(content, str):
        raise _not_a_completion(body, redact)
    # The key goes first: a control token neutralised within it would hide it.
    text = neutralise(redact(_clean(content))) if content and not content.isspace() else ""
    usage = read_usage(fields)
    answered_by = fields.get("model")
    return ChatReply(
        text=text,
        outcome=_outcome(text, finish_reason, refusal),
        model=redact(_clean(answered_by[:_MAX_MODEL_CHARS])) if isinstance(answered_by, str) and answered_by else model,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        logprobs=read_logprobs(choice, lambda text: redact(_clean(text))),
    )


def read_usage(fields: Mapping[str, Any]) -> TryUsage:
    """Read the counts of a body; what is missing or no count is 0."""
    usage = fields.get("usage")
    if not isinstance(usage, dict):
        return TryUsage()
    prompt_tokens = _num_tokens(usage, "prompt_tokens")
    details = usage.get("prompt_tokens_details")  # OpenAI, vLLM, SGLang and most others
    cached_tokens = (
        (_num_tokens(details, "cached_tokens") if isinstance(details, dict) else 0)
        or _num_tokens(usage, "prompt_cache_hit_tokens")  # DeepSeek
        or _num_tokens(usage, "cache_read_input_tokens")  # Anthropic's models, behind LiteLLM for example
    )
    return TryUsage(
        prompt_tokens=prompt_tokens,
        completion_tokens=_num_tokens(usage, "completion_tokens"),
        cached_tokens=min(cached_tokens, prompt_tokens),
    )


def error_excerpt(body: bytes, redact: Callable[[str], str]) -> str:
    """Return what a server says is wrong: on one line, bounded, printable, without the key."""
    text = body.decode("utf-8", "replace")
    try:
        fields = orjson.loads(body)
        error = fields.get("error", fields)
        message = error.get("message", error.get("detail")) if isinstance(error, dict) else error
        text = message if isinstance(message, str) else text
    except (ValueError, AttributeError):
        pass
    # Redact before cutting: half a key is still a secret.
    line = "".join(char if char.isprintable() else " " for char in redact(text)[: 10 * _MAX_EXCERPT_CHARS])
    line = " ".join(line.split())
    return line if len(line) <= _MAX_EXCERPT_CHARS else line[:_MAX_EXCERPT_CHARS] + "..."


def _outcome(text: str, finish_reason: object, refusal: object) -> ReplyOutcome:
    if not text:
        refused = finish_reason == "content_filter" or bool(refusal)
        return ReplyOutcome.CONTENT_FILTER if refused else ReplyOutcome.EMPTY
    known = isinstance(finish_reason, str) and _OUTCOMES.get(finish_reason)
    return known or ReplyOutcome.COMPLETE


def _read_json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except ValueError:
        pass
    try:
        return json.loads(body)  # Takes the escaped lone surrogates that some servers cut emoji into; orjson does not.
    except (ValueError, RecursionError) as error:
        raise MalformedReplyError(f"the reply's body of {len(body)} bytes is not JSON: {error}") from None


def _clean(text: str) -> str:
    """Replace what cannot be encoded as UTF-8, and NUL."""
    text = text.replace("\0", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _num_tokens(usage: Mapping[str, Any], name: str) -> int:
    """Return a count that is one, else 0."""
    count = usage.get(name)
    return count if type(count) is int and 0 <= count < _MAX_TOKENS else 0


def _not_a_completion(body: bytes, redact: Callable[[str], str]) -> MalformedReplyError:
    return MalformedReplyError(
        f"expected a chat completion with choices[0].message.content, got: {error_excerpt(body, redact)}"
    )
