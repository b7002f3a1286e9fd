"""What commands print: words for people on stderr, results on stdout."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from pydantic import BaseModel
from rich.console import Console, RenderableType

__all__ = ["AsJson", "console", "emit"]

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON on stdout.")]
"""The `--json` flag; annotate a command's parameter with it and hand its value to `emit`."""

console = Console(stderr=True, emoji=False)
"""Progress, notes and errors for people; stdout stays clean for results. `:x:` in a path is no emoji."""


def emit(result: Mapping[str, Any], as_json: bool, text: RenderableType | None = None) -> None:
    """Print a command's result on stdout.

    Args:
        result: The machine-readable result; may hold paths, models, dataclasses and numpy numbers.
        as_json: Whether to print `result` as one line of JSON.
        text: What people see instead, a string or anything that rich renders; by default one `name: value` a line.
    """
    if as_json:
        options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE
        sys.stdout.write(orjson.dumps(dict(result), default=_plain, option=options).decode())
        sys.stdout.flush()
        return
    if text is None:
        typer.echo("\n".join(f"{name}: {value}" for name, value in result.items()))
    else:
        Console(highlight=False, emoji=False).print(text, soft_wrap=isinstance(text, str))


def _plain(value: Any) -> Any:
    """Turn what orjson does not know into what it does."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"expected a value that JSON can hold, got {type(value).__name__}")
