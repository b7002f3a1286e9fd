"""Addresses of local servers: which are loopback, and a bound socket before anything slow begins."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from urllib.parse import urlsplit

from music.errors import InvalidInputError

__all__ = ["cannot_listen", "hostname_of", "is_loopback", "listening_on"]


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a host."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def hostname_of(host_header: str) -> str:
    """Return the name in a `Host` header, without its port; empty if it is not valid."""
    try:
        return urlsplit(f"//{host_header}").hostname or ""
    except ValueError:
        return ""


@contextmanager
def listening_on(host: str, port: int) -> Iterator[tuple[socket.socket, str]]:
    """Take an address; connections are refused until a server listens on its socket.

    Yields:
        A socket for the server, and its base URL.

    Raises:
        InvalidInputError: The address cannot be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise cannot_listen(host, port, error) from error
    with listener:
        name = f"[{host}]" if ":" in host else host
        yield listener, f"http://{name}:{listener.getsockname()[1]}"


def cannot_listen(host: str, port: int, error: OSError) -> InvalidInputError:
    """Return the error of an address that cannot be had."""
    return InvalidInputError(f"cannot listen on {host}:{port}: {error.strerror}; give another --port, or 0 for any")
