"""API keys, headers and query strings of requests to an endpoint. None of them is ever shown.

For an endpoint on host `api.example.com`, the key is in the first of these variables that is set:
1. `MUSIC_API_KEY_API_EXAMPLE_COM`, for that host alone (upper case, other characters as underscores);
2. `MUSIC_API_KEY`, for any host over https, and over plain http for this machine only;
3. `OPENAI_API_KEY`, for https://api.openai.com only.

Values of headers and of the query may be secrets too; `env:NAME` takes one from the environment.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from yarl import URL

from music.errors import InvalidInputError

__all__ = ["Connection", "find_api_key", "is_loopback", "key_variable", "read_base_url", "redact"]

_REDACTED = "[redacted]"
_MIN_SECRET_CHARS = 12  # Shorter keys are placeholders such as EMPTY, which may occur in a reply.
_OPENAI_HOST = "api.openai.com"
_FROM_ENVIRONMENT = "env:"
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_NAMES_SECRET = re.compile(r"auth|key|token|secret|cookie|pass|sig", re.IGNORECASE)


def find_api_key(url: URL) -> SecretStr:
    """Return the key for an endpoint from the environment; an empty one if none is set.

    Raises:
        InvalidInputError: The key contains characters that no HTTP header can carry.
    """
    names = [key_variable(url)]
    if url.scheme == "https" or is_loopback(url):
        names.append("MUSIC_API_KEY")
    if url.scheme == "https" and url.host == _OPENAI_HOST:
        names.append("OPENAI_API_KEY")
    for name in names:
        if key := os.environ.get(name, "").strip():
            if not (key.isascii() and key.isprintable()):
                raise InvalidInputError(f"{name}: expected printable ASCII characters; was the key pasted whole?")
            return SecretStr(key)
    return SecretStr("")


def redact(text: str, secrets: Iterable[str], min_chars: int = _MIN_SECRET_CHARS) -> str:
    """Replace these secrets in a text, except those so short that they may occur by chance."""
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


def read_base_url(base_url: str, path: str) -> URL:
    """Validate a base URL to which a path is added; errors do not repeat parts that may be secret."""
    try:
        url = URL(base_url)
        is_http = url.scheme in ("http", "https") and bool(url.host)
    except ValueError:
        is_http = False
    if not is_http:
        raise InvalidInputError("base URL: expected http://HOST[:PORT][/PATH] or https://...")
    if url.path.rstrip("/").endswith(f"/{path}"):
        raise InvalidInputError(f"base URL on host {url.host}: expected it without /{path}, which is added to it")
    if url.query_string:
        raise InvalidInputError(
            f"base URL on host {url.host}: expected no query string; give its parts as --option query.NAME=VALUE "
            "(for a secret: query.NAME=env:VARIABLE), in Python as Connection(query={...})"
        )
    if url.user or url.password or url.fragment:
        raise InvalidInputError(
            f"base URL on host {url.host}: expected no user, password, query or fragment; "
            f"give the key in the environment variable {key_variable(url)} or MUSIC_API_KEY"
        )
    return url


class Connection(BaseModel):
    """What requests to an endpoint carry besides their body."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    max_tokens_field: str | None = Field(default=None, min_length=1)
    """Field that limits a reply's tokens; None for `max_tokens`, or `max_completion_tokens` where that is refused."""
    headers: Mapping[str, SecretStr] = {}
    """Further headers by name; `env:NAME` as a value reads that environment variable."""
    query: Mapping[str, SecretStr] = {}
    """The URL's query string, likewise."""

    @field_validator("headers")
    @classmethod
    def _headers_can_be_sent(cls, headers: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
        for name, value in headers.items():
            text = value.get_secret_value()
            if not (_HEADER_NAME.fullmatch(name) and text.isascii() and text.isprintable()):
                raise ValueError(f"header {name!r}: expected a name and a value that HTTP can carry (printable ASCII)")
        return headers

    def header_values(self) -> dict[str, str]:
        """Return the headers as they are sent.

        Raises:
            InvalidInputError: An environment variable is not set, or its value cannot be sent in a header.
        """
        return {name: _resolve(f"headers.{name}", value) for name, value in self.headers.items()}

    def query_values(self) -> dict[str, str]:
        """Return the query as it is sent; raises as `header_values` does."""
        return {name: _resolve(f"query.{name}", value) for name, value in self.query.items()}

    def secrets(self) -> Iterator[str]:
        """Yield the values that have the name of a secret or come from the environment."""
        for group, values in ((self.headers, self.header_values()), (self.query, self.query_values())):
            for name, value in values.items():
                if _is_from_environment(group[name]) or _NAMES_SECRET.search(name):
                    yield value.removeprefix("Bearer ")

    def values(self) -> Iterator[str]:
        """Yield all values; errors may show none of them."""
        yield from self.header_values().values()
        yield from self.query_values().values()


def _is_from_environment(value: SecretStr) -> bool:
    return value.get_secret_value().startswith(_FROM_ENVIRONMENT)


def _resolve(place: str, value: SecretStr) -> str:
    if not _is_from_environment(value):
        return value.get_secret_value()
    variable = value.get_secret_value().removeprefix(_FROM_ENVIRONMENT)
    found = os.environ.get(variable, "").strip()
    if not (found and found.isascii() and found.isprintable()):
        raise InvalidInputError(f"option {place}=env:{variable}: expected that variable to be set, in printable ASCII")
    return found
