"""`AccessRules`: who may use a reward server.

A server on loopback needs no key, but pages of other sites must not use it through their visitor's browser. It refuses
requests that a page of another origin sends, and names of hosts that are not loopback: a site may let its own name
point there. A server that listens elsewhere asks for a key.
"""

import hmac
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from music.errors import InvalidInputError
from music.hosts import hostname_of, is_loopback
from music.serving.config import ServingConfig
from music.serving.protocols import RefusedError

__all__ = ["AccessRules"]

_VARIABLE = "MUSIC_SERVE_API_KEY"
_OPEN = {"/health", "/ready"}
"""Paths for probes, which need no key."""


class AccessRules:
    """Which requests a server answers.

    Args:
        key: The key that requests carry; None for none.
        is_local: Whether the server listens on loopback only.
    """

    def __init__(self, key: str | None, *, is_local: bool) -> None:
        self._key = key
        self._is_local = is_local

    @classmethod
    def of(cls, config: ServingConfig) -> "AccessRules":
        """Return the rules of a server.

        Raises:
            InvalidInputError: The file of the key cannot be read or is empty, or a key is needed and there is none.
        """
        key, is_local = _read_key(config), is_loopback(config.host)
        if not (key or is_local or config.insecure):
            raise InvalidInputError(
                f"--host {config.host}: expected an API key, as others can reach this address: give --api-key-file "
                f"FILE or set {_VARIABLE}. To serve anybody, give --insecure"
            )
        return cls(key, is_local=is_local)

    def check(self, path: str, headers: Mapping[str, str]) -> None:
        """Check a request.

        Raises:
            RefusedError: The server must not answer it.
        """
        if self._key is not None:
            self._check_key(path, headers)
            return
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._is_local and host and not is_loopback(hostname_of(host)):
            message = "expected a Host that is loopback, such as 127.0.0.1; behind a proxy, start the server with a key"
            raise RefusedError(403, "wrong_host", message)
        if origin is not None and urlsplit(origin).netloc != host:
            message = "requests from pages of other sites are refused; start the server with a key to allow them"
            raise RefusedError(403, "cross_site", message)

    def _check_key(self, path: str, headers: Mapping[str, str]) -> None:
        kind, _, given = headers.get("authorization", "").partition(" ")
        is_right = hmac.compare_digest(_octets(given.strip()), _octets(self._key or ""))
        if path not in _OPEN and not (kind.lower() == "bearer" and is_right):
            message = "expected the header Authorization: Bearer KEY, with the server's key"
            raise RefusedError(401, "unauthorized", message, {"WWW-Authenticate": "Bearer"})


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _read_key(config: ServingConfig) -> str | None:
    if config.api_key_file is None:
        return os.environ.get(_VARIABLE, "").strip() or None
    try:
        key = config.api_key_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"--api-key-file {config.api_key_file}: expected a readable text file") from error
    if not key:
        raise InvalidInputError(f"--api-key-file {config.api_key_file}: expected a key, got an empty file")
    return key
