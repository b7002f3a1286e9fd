"""`--config FILE.toml`: a command's flags from a file.

Keys are the flags without their dashes (`num-pairs = 200`), and the names of arguments (`seeds = "pairs.parquet"`).
A flag that may be repeated takes a list, or a table of `KEY = VALUE` (`[options]` for `--option`, with a table for each
role). The command line wins. The values become click's `default_map`, so they are converted and checked as on the
command line.
"""

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import orjson
import typer
from typer.core import TyperArgument, TyperOption

from music.errors import InvalidInputError

__all__ = ["apply_config"]

Parameter = TyperArgument | TyperOption

_NOT_KEYS = {"config", "help", "version"}


def apply_config(ctx: typer.Context, path: Path | None) -> None:
    """Make a file's values the defaults of the command; the callback of `--config`."""
    if path is not None:
        ctx.default_map = _read_config(path, ctx.command.params)


def _read_config(path: Path, params: list[Any]) -> dict[str, Any]:
    """Read a file's values by parameter name.

    Raises:
        InvalidInputError: The file cannot be read, a key is not a flag of the command, or a value has the wrong shape.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"--config {path}: expected a readable TOML file, got: {error}") from error
    by_key = {key: param for param in params for key in _keys(param)}
    return {
        param.name: _default(value, param, where=f"{path}: key {key!r}")
        for key, value in values.items()
        for param in [_find(key.replace("_", "-"), by_key, path)]
    }


def _keys(param: Parameter) -> list[str]:
    """Return the keys that set a parameter."""
    flags = [flag for flag in param.opts if flag.startswith("--")] or [param.name or ""]
    if getattr(param, "multiple", False):
        flags.append(param.name or "")  # `[options]` reads better than `[option]`
    return [key for flag in flags if (key := flag.lstrip("-").replace("_", "-")) not in _NOT_KEYS]


def _find(key: str, by_key: dict[str, Parameter], path: Path) -> Parameter:
    """Return the parameter of a key, or raise an error with the nearest key."""
    if key in by_key:
        return by_key[key]
    nearest = get_close_matches(key, by_key, n=1, cutoff=0.0)
    hint = f"did you mean {nearest[0]!r}?" if nearest else "this command has no flags"
    raise InvalidInputError(f"{path}: expected keys that are flags of this command, got {key!r}; {hint}")


def _default(value: Any, param: Parameter, where: str) -> Any:
    """Convert a TOML value to its command-line form, so that 2.5 for a whole number is refused, not truncated."""
    takes_many = param.nargs != 1 or bool(getattr(param, "multiple", False))
    if isinstance(value, dict) and takes_many:
        return [f"{key}={_inner(item, where)}" for key, item in value.items()]
    if isinstance(value, dict):
        raise InvalidInputError(f"{where}: expected a plain value, got a table; write flags at the top level")
    if takes_many:
        return [_scalar(item) for item in (value if isinstance(value, list) else [value])]
    if isinstance(value, list):
        raise InvalidInputError(f"{where}: expected one value, got a list of {len(value)}")
    return _scalar(value)


def _inner(value: Any, where: str) -> str:
    """Convert a value of a table: text is unchanged, other values become JSON."""
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except TypeError as error:
        raise InvalidInputError(f"{where}: expected text, numbers, lists and tables in a table: {error}") from error


def _scalar(value: Any) -> Any:
    """Return a bool unchanged and other values as text."""
    return value if isinstance(value, bool) else str(value)
