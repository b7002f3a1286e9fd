"""API keys: found in the environment, sent to the right host only, and shown to nobody.

For an endpoint on host `api.example.com` the first of these that is set is sent:
1. `MUSIC_API_KEY_API_EXAMPLE_COM`, the key named for that host (upper case, other signs as underscores);
2. `MUSIC_API_KEY`, for any host, yet over plain http to this machine only;
3. `OPENAI_API_KEY`, to https://api.openai.com only.
"""

import os
import re
from collections.abc import Iterable

from yarl import URL

from music.errors import InvalidInputError

__all__ = ["ApiKey", "is_loopback", "key_variable", "redact"]

_REDACTED = "[redacted]"
_MIN_SECRET_CHARS = 12  # Shorter keys are place-holders such as EMPTY, which may well occur in a reply.
_OPENAI_HOST = "api.openai.com"


class ApiKey:
    """A key that does not show itself, or the lack of one."""

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        self._value = value

    def __repr__(self) -> str:
        return f"ApiKey({_REDACTED if self._value else ''})"

    def __bool__(self) -> bool:
        return bool(self._value)

    @classmethod
    def for_url(cls, url: URL) -> "ApiKey":
        """Find the key for an endpoint in the environment.

        Raises:
            InvalidInputError: The key holds characters that no HTTP header can carry.
        """
        variable = next((name for name in _variables(url) if os.environ.get(name, "").strip()), None)
        if variable is None:
            return cls()
        value = os.environ[variable].strip()
        if not (value.isascii() and value.isprintable()):
            raise InvalidInputError(f"{variable}: expected printable ASCII characters; was the key pasted whole?")
        return cls(value)

    def header(self) -> dict[str, str]:
        """Return the header that carries the key."""
        return {"Authorization": f"Bearer {self._value}"} if self._value else {}

    def redact(self, text: str) -> str:
        """Return a text without the key, should a server have echoed it."""
        return redact(text, (self._value,))


def redact(text: str, secrets: Iterable[str], min_chars: int = _MIN_SECRET_CHARS) -> str:
    """Return a text without any of these secrets that is long enough not to occur by chance."""
    for secret in secrets:
        if len(secret) >= min_chars:
            text = text.replace(secret, _REDACTED)
    return text


def key_variable(url: URL) -> str:
    """Return the name of the variable that holds the key for this URL's host alone."""
    return "MUSIC_API_KEY_" + re.sub(r"[^A-Z0-9]", "_", (url.host or "").upper())


def is_loopback(url: URL) -> bool:
    """Whether the URL's host is this machine."""
    host = url.host or ""
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d+){3}", host) is not None


def _variables(url: URL) -> list[str]:
    """Return the variables whose key may be sent to this URL, first choice first."""
    names = [key_variable(url)]
    if url.scheme == "https" or is_loopback(url):
        names.append("MUSIC_API_KEY")
    if url.scheme == "https" and url.host == _OPENAI_HOST:
        names.append("OPENAI_API_KEY")
    return names
