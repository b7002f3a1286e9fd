"""Preference files as commands take them: the flags, and reading that says what it read."""

from typing import TYPE_CHECKING, Annotated

import typer

from music.cli.output import console
from music.errors import InvalidInputError

if TYPE_CHECKING:
    from music.preferences import PreferenceSet

__all__ = ["FormatFlag", "StrictFlag", "read_pairs"]

FormatFlag = Annotated[
    str | None, typer.Option("--format", help="skywork, hh, ultrafeedback or trl; detected by default.")
]
StrictFlag = Annotated[bool, typer.Option("--strict", help="Stop at the first row that cannot be used.")]


def read_pairs(
    source: str, format: str | None = None, strict: bool = False, limit: int | None = None
) -> "PreferenceSet":
    """Read a preference file, folder or hub id, and say what was used and what was left out.

    Raises:
        InvalidInputError: The source cannot be read, or not one of its rows can be used.
    """
    from music.preferences import Format, read_preferences

    if format is not None and format not in set(Format):
        raise InvalidInputError(f"--format: expected one of {', '.join(Format)}; got {format!r}")
    found = read_preferences(source, format=Format(format) if format else None, strict=strict, limit=limit)
    console.print(found.summary(), markup=False, highlight=False, soft_wrap=True)
    if not found.pairs:
        raise InvalidInputError(f"{source}: expected at least one usable preference pair, got none")
    return found
