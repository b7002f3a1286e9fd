"""`Connection`: what requests to an endpoint carry beside their body: headers, a query string, the name of a field.

Values of headers and queries may be secrets: none is shown, and `env:NAME` takes one from the environment.
"""

import os
import re
from collections.abc import Iterator, Mapping

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from music.errors import InvalidInputError

__all__ = ["Connection"]

_FROM_ENVIRONMENT = "env:"
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_NAMES_SECRET = re.compile(r"auth|key|token|secret|cookie|pass|sig", re.IGNORECASE)


class Connection(BaseModel):
    """What requests to an endpoint carry beside their body."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    max_tokens_field: str | None = Field(default=None, min_length=1)
    """Field that bounds a reply's tokens; None for `max_tokens`, or `max_completion_tokens` where that is refused."""
    headers: Mapping[str, SecretStr] = {}
    """Further headers by name; a value of `env:NAME` is taken from that environment variable."""
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
            InvalidInputError: An environment variable is not set, or holds what no header can carry.
        """
        return {name: _resolve(f"headers.{name}", value) for name, value in self.headers.items()}

    def query_values(self) -> dict[str, str]:
        """Return the query as it is sent; raises as `header_values` does."""
        return {name: _resolve(f"query.{name}", value) for name, value in self.query.items()}

    def secrets(self) -> Iterator[str]:
        """Yield the values that are secrets by their name or as they come from the environment."""
        for group, values in ((self.headers, self.header_values()), (self.query, self.query_values())):
            for name, value in values.items():
                if _is_from_environment(group[name]) or _NAMES_SECRET.search(name):
                    yield value.removeprefix("Bearer ")

    def values(self) -> Iterator[str]:
        """Yield all values, none of which errors may show."""
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
