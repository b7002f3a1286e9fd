"""Errors in the words of the command line: flags as they are typed, not the names of a config's fields.

A parameter of a command belongs to the field of its own name: `num_turns` is `--turns` if its option is declared so.
Where a command fills several configs, the parameter carries the title of the config before it (`judge_prices` for the
field `prices` of a model with the title `judge`).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from music.errors import MusicError

__all__ = ["in_one_line"]

_FIELD = re.compile(r"\b[a-z]+(?:_[a-z]+)+\b")
"""A field's name within a sentence: one with an underscore, which prose does not have."""
_LONGEST = 80
"""Characters of a refused value that are shown."""


def in_one_line(error: Exception, params: Sequence[Any]) -> str | None:
    """Word an error, or return None if it is not the user's to fix.

    Args:
        error: What a command raised.
        params: The parameters of the command, as click has them.
    """
    if isinstance(error, ValidationError):
        flags = {param.name: _spelling(param) for param in params}
        return "; ".join(_fault(fault, error.title, flags) for fault in error.errors())
    if isinstance(error, OSError) and not isinstance(error, MusicError):
        # Only an error about a named file; a broken pipe or socket is either handled elsewhere or a bug.
        return f"{error.filename}: {error.strerror}" if error.filename is not None else None
    return str(error)


def _spelling(param: Any) -> str:
    """Return how a parameter is typed: its flag, or an argument's name."""
    flag: str = next((opt for opt in param.opts if opt.startswith("--")), param.name)
    return flag


def _fault(fault: ErrorDetails, title: str, flags: Mapping[str, str]) -> str:
    """Word what pydantic found wrong with one value, or with several together."""
    fields = [str(part) for part in fault["loc"] if isinstance(part, str)]
    known = [flag for field in reversed(fields) if (flag := flags.get(f"{title}_{field}", flags.get(field, "")))]
    message = fault["msg"].removeprefix("Value error, ")
    wanted = message.removeprefix("Input should be ")
    if wanted != message:
        wanted = wanted.partition(", unable to parse")[0]
        wanted = f"a value {wanted}" if wanted.startswith(("greater", "less")) else wanted
        message = f"expected {wanted}, got {_shown(fault['input'])}"
    if known:
        return f"{known[0]}: {message}"
    message = _FIELD.sub(lambda found: flags.get(f"{title}_{found[0]}", flags.get(found[0], found[0])), message)
    # Our own validators write whole sentences; pydantic's words need to be told of what they speak.
    return message if fault["type"] == "value_error" else f"invalid {title}: {'.'.join(fields)}: {message}"


def _shown(value: Any) -> str:
    """Write a refused value as the user wrote it, cut where it is long."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
