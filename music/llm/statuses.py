"""Which error an HTTP status is, whether the server sends it as one or writes it into a body with the status 200."""

from collections.abc import Mapping
from typing import Any

from music.llm.chat import (
    EndpointError,
    EndpointTimeoutError,
    EndpointUnavailableError,
    RateLimitedError,
    RequestRejectedError,
    TryUsage,
)
from music.llm.retry import FailedTryError

__all__ = ["error_of_status", "reported_error", "status_of"]

_GATEWAY_TIMED_OUT = (504, 524)
"""Statuses of proxies that gave up on a server which may still have worked for the request."""
_PASSING = (409, 425, 498, 499)
"""Statuses below 500 of something that passes: a conflict, too early, no capacity (Groq), a proxy that hung up."""
_UNNAMED_ERROR = 500
"""The status of an error in a body that names none: another try may succeed."""
_LIMITED = ("rate_limit", "ratelimit", "too_many_requests", "resource_exhausted", "insufficient_quota")
_REJECTED = ("invalid_request", "badrequest", "context_length", "authentication", "permission", "not_found")


def error_of_status(
    status: int, said: str, body: bytes, *, retry_after: float | None = None, usage: TryUsage | None = None
) -> EndpointError:
    """Return the error of a status other than 200: a `FailedTryError` if another try may succeed.

    Args:
        status: The status.
        said: The error's message.
        body: The answer, for what the status alone does not say.
        retry_after: Seconds that the server asks to wait.
        usage: What the try used, if the server says so.
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
    """Return the HTTP status that an error in a body stands for."""
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
