"""The snippets of a page: its blocks, the commands in them, and what each is shown to print.

tests/test_snippets.py runs them in this checkout, tools/release_check.py from an installed wheel.
"""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

__all__ = ["free_port", "is_server", "on_free_ports", "snippets", "steps", "with_port"]

_BLOCK = re.compile(r"(?:^<!-- not run: needs (.*?) -->\n)?^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_COMMAND = re.compile(r"^(\$ |music |curl |python |pip |torchrun |accelerate |git |make |\w+=\S)", re.MULTILINE)
_SERVER = re.compile(r"music (sandbox serve|serve|view)\b(?!.* --(static|export|agreement|check))")
_DEFAULT_PORTS = {"serve": "8300", "view": "8400"}


def snippets(page: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (needs, language, text) of each block that a reader could run."""
    for needs, language, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if language in ("sh", "console", "python") or (not language and _COMMAND.search(text)):
            yield needs, language, text


def steps(text: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a block with the output that is shown below it."""
    if text.startswith("$ "):
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, output = part.replace("\\\n", " ").partition("\n")
            yield command, output
    elif "<<" in text:
        yield text, ""
    else:
        for line in text.replace("\\\n", " ").splitlines():
            if line.strip() and not line.startswith("#"):
                yield line, ""


def is_server(command: str) -> bool:
    """Say whether a command answers requests until it is ended."""
    return bool(_SERVER.match(command))


def on_free_ports(text: str, ports: dict[str, str]) -> str:
    """Replace the ports that a block names by free ones, which are added to `ports`."""
    for port in re.findall(r"(?:127\.0\.0\.1:|--port )(8\d\d\d)", text):
        ports.setdefault(port, free_port())
    for old, new in ports.items():
        text = text.replace(old, new)
    return text


def with_port(command: str, ports: dict[str, str]) -> str:
    """Give the command of a server a free port in place of its default."""
    server = _SERVER.match(command)
    if not server or "--port" in command or server[1] not in _DEFAULT_PORTS:
        return command
    port = ports.setdefault(_DEFAULT_PORTS[server[1]], free_port())
    return command.replace(server[0], f"{server[0]} --port {port}", 1)


def free_port() -> str:
    """Return a port on loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
