"""Errors in a server's answers: their type, and their text in a form that is safe to show."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from music.llm.chat import (
    EndpointError,
    EndpointTimeoutError,
    EndpointUnavailableError,
    RateLimitedError,
    RequestRejectedError,
    TryUsage,
)
from music.llm.retry import FailedTryError

__all__ = ["Redact", "error_excerpt", "error_of_status", "excerpt_of", "printable", "reported_error", "status_of"]

Redact = Callable[[str], str]
"""Removes the key and other secrets from a text."""
_MAX_EXCERPT_CHARS = 300
_GATEWAY_TIMED_OUT = (504, 524)
"""Statuses of proxies that stopped waiting for a server, which may still have processed the request."""
_PASSING = (409, 425, 498, 499)
"""Statuses below 500 of temporary errors: a conflict, too early, no capacity (Groq), a proxy that closed."""
_UNNAMED_ERROR = 500
"""Status assumed for an error in a body without one: another try may succeed."""
_LIMITED = ("rate_limit", "ratelimit", "too_many_requests", "resource_exhausted", "insufficient_quota")
_REJECTED = ("invalid_request", "badrequest", "context_length", "authentication", "permission", "not_found")


def error_of_status(
    status: int, said: str, body: bytes, *, retry_after: float | None = None, usage: TryUsage | None = None
) -> EndpointError:
    """Return the error of a status other than 200: a `FailedTryError` if another try may succeed.

    Args:
        status: The status.
        said: The error's message.
        body: The answer's body, which distinguishes errors of one status.
        retry_after: Seconds that the server asks to wait.
        usage: The usage of the try, if the server reports it.
    """
    if status == 429 and b'"insufficient_quota"' in body:
        said += " (the account's quota is used up; waiting does not bring it back)"
        return RequestRejectedError(said, status)
    if status == 429:
        return FailedTryError(RateLimitedError(said), retry_after, usage=usage)
    if status == 408:
        return FailedTryError(EndpointTimeoutError(said), retry_after, usage=usage)
    if status >= 500 or status in _PASSING:
        may_be_paid = status in _GATEWAY_TIMED_OUT
        return FailedTryError(EndpointUnavailableError(said), retry_after, usage=usage, may_be_paid=may_be_paid)
    return RequestRejectedError(said, status)


def reported_error(fields: Mapping[str, Any], choice: Mapping[str, Any]) -> object:
    """Return the error that a body with the status 200 holds, if any."""
    if fields.get("object") == "error":
        return fields
    return fields.get("error") or choice.get("error")


def status_of(error: object) -> int:
    """Return the HTTP status that corresponds to an error in a body."""
    names = [error.get(name) for name in ("code", "status", "type")] if isinstance(error, dict) else [error]
    for name in names:
        word = str(name).lower().replace(" ", "_")
        if word.isdecimal() and len(word) == 3 and word >= "400":
            return int(word)
        if any(part in word for part in _LIMITED):
            return 429
        if any(part in word for part in _REJECTED):
            return 400
    return _UNNAMED_ERROR


def error_excerpt(body: bytes, redact: Redact) -> str:
    """Return the error message in a body: on one line, bounded, printable, without the key."""
    try:
        fields = orjson.loads(body)
        return excerpt_of(fields.get("error", fields), redact, body)
    except (ValueError, AttributeError):
        return printable(body.decode("utf-8", "replace"), redact)


def excerpt_of(error: object, redact: Redact, body: bytes | None = None) -> str:
    """Return the message of an error; the whole error, or `body`, if it has none."""
    message = error.get("message", error.get("detail")) if isinstance(error, dict) else error
    if isinstance(message, str):
        return printable(message, redact)
    return printable((orjson.dumps(error) if body is None else body).decode("utf-8", "replace"), redact)


def printable(text: str, redact: Redact) -> str:
    """Return a text of a server on one line, bounded, printable, without the key."""
    # Redact before cutting: half a key is still a secret.
    line = "".join(char if char.isprintable() else " " for char in redact(text)[: 10 * _MAX_EXCERPT_CHARS])
    line = " ".join(line.split())
    return line if len(line) <= _MAX_EXCERPT_CHARS else line[:_MAX_EXCERPT_CHARS] + "..."
