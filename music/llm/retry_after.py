"""Reads from a server's answer how long to wait and when a limit is lifted.

Headers contain plain seconds, durations (`6m0s`), dates (RFC 3339 or HTTP), or seconds, milliseconds or smaller units
since 1970. None of them is trusted: the caller bounds the wait.
"""

import math
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["asked_wait", "read_number", "seconds_until"]

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNIT_SECONDS = (86400.0, 3600.0, 60.0, 1.0, 0.001)
_FIRST_TIME = 1e8
"""Larger numbers are times since 1970: no wait lasts three years, and 1e8 s is a time in 1973."""
_LAST_SECOND = 1e11
"""Larger times are in milliseconds or smaller units: 1e11 s is the year 5138."""
_RESETS = (
    ("x-ratelimit-reset", "x-ratelimit-remaining"),
    ("ratelimit-reset", "ratelimit-remaining"),
    ("x-ratelimit-reset-requests", "x-ratelimit-remaining-requests"),
    ("x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens"),
    ("anthropic-ratelimit-requests-reset", "anthropic-ratelimit-requests-remaining"),
    ("anthropic-ratelimit-tokens-reset", "anthropic-ratelimit-tokens-remaining"),
    ("anthropic-ratelimit-input-tokens-reset", "anthropic-ratelimit-input-tokens-remaining"),
    ("anthropic-ratelimit-output-tokens-reset", "anthropic-ratelimit-output-tokens-remaining"),
)
"""Headers that say when a limit is lifted, each with the header that says how much of the limit is left."""
_IN_BODY = re.compile(rb'"(?:retryDelay|X-RateLimit-Reset)"\s*:\s*"([0-9.]+s?)"', re.IGNORECASE)
"""The fields of Gemini and OpenRouter."""


def asked_wait(headers: Mapping[str, str], answer: bytes = b"") -> float | None:
    """Return the seconds that a server asks to wait before the next try; None if it asks for no wait.

    Args:
        headers: The headers of its answer; lookups must ignore case, as in aiohttp.
        answer: The body, which may contain a wait, too.
    """
    if (milliseconds := read_number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    if (seconds := seconds_until(headers.get("retry-after"))) is not None:
        return seconds
    used_up = [reset for reset, remaining in _RESETS if not read_number(headers.get(remaining))]
    resets = [*map(headers.get, used_up), *(found.decode() for found in _IN_BODY.findall(answer))]
    waits = [wait for reset in resets if (wait := seconds_until(reset)) is not None]
    return max(waits, default=None)


def seconds_until(value: str | None) -> float | None:
    """Convert a wait or a time in any of the forms above to seconds from now, at least 0; None for anything else."""
    if not value:
        return None
    if found := _DURATION.fullmatch(value):
        return sum(float(part) * unit for part, unit in zip(found.groups("0"), _UNIT_SECONDS, strict=True))
    try:
        seconds = float(value)
    except ValueError:
        moment = _read_date(value)
        return None if moment is None else max(0.0, moment - time.time())
    if math.isnan(seconds):
        return None
    if seconds < _FIRST_TIME or math.isinf(seconds):
        return max(0.0, seconds)
    while seconds > _LAST_SECOND:
        seconds /= 1000
    return max(0.0, seconds - time.time())


def read_number(value: str | None) -> float | None:
    """Return a finite number that is not negative, else None."""
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if 0 <= number < 1e15 else None


def _read_date(value: str) -> float | None:
    """Convert an RFC 3339 or HTTP date to seconds since 1970; a date without a zone is UTC."""
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            date = read(value)
            return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError, TypeError):
            continue
    return None
