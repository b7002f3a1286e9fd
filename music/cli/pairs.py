"""Preference files as commands take them: the flags, and reading that reports what it read."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from music.cli.output import console
from music.config import Config, Flag
from music.errors import InvalidInputError

if TYPE_CHECKING:
    from music.preferences import PreferenceSet

__all__ = [
    "ConsecutiveFlag",
    "ConsecutiveWord",
    "FormatFlag",
    "Reading",
    "SplitFlag",
    "StrictFlag",
    "read_pairs",
    "report_reading",
]

ConsecutiveWord = Literal["refuse", "merge"]
"""The values of `music.preferences.Consecutive`, named here so that the shell loads no reader."""

FormatFlag = Annotated[
    str | None,
    typer.Option(
        "--format", help="Shape of all rows, as docs/your-own-data.md names it; by default it is found for each row."
    ),
]
StrictFlag = Annotated[bool, typer.Option("--strict", help="Stop at the first row that cannot be used.")]
SplitFlag = Annotated[
    str | None,
    typer.Option(
        "--split", help="Which split of a folder or hub data set; also SOURCE:SPLIT. By default train, or the only one."
    ),
]
ConsecutiveFlag = Annotated[
    ConsecutiveWord,
    typer.Option("--consecutive", help="Two messages in a row by one speaker: refuse the row, or merge them."),
]


class Reading(Config):
    """The flags of commands that read preference files."""

    format: str | None = None
    """Shape of all rows, as docs/your-own-data.md names it; by default it is found for each row."""
    split: str | None = None
    """Which split of a folder or hub data set; also SOURCE:SPLIT. By default train, or the only one."""
    consecutive: ConsecutiveWord = "refuse"
    """Two messages in a row by one speaker: refuse the row, or merge them."""
    strict: Annotated[bool, Flag(name="--strict")] = False
    """Stop at the first row that cannot be used."""

    def read(self, source: str, limit: int | None = None) -> "PreferenceSet":
        """Read a preference file, folder or hub id, and report what was used and what was left out.

        Raises:
            InvalidInputError: The source cannot be read, or not one of its rows can be used.
        """
        return read_pairs(source, limit=limit, **dict(self))


def read_pairs(
    source: str,
    format: str | None = None,
    strict: bool = False,
    limit: int | None = None,
    *,
    split: str | None = None,
    consecutive: ConsecutiveWord = "refuse",
) -> "PreferenceSet":
    """Read a preference file, folder or hub id, and report what was used and what was left out.

    Raises:
        InvalidInputError: The source cannot be read, or not one of its rows can be used.
    """
    from music.preferences import Consecutive, parse_format, read_preferences

    found = read_preferences(
        source,
        format=parse_format(format),
        split=split,
        strict=strict,
        limit=limit,
        consecutive=Consecutive(consecutive),
    )
    report_reading(found)
    if not found.pairs:
        raise InvalidInputError(f"{source}: expected at least one usable preference pair, got none")
    return found


def report_reading(found: "PreferenceSet") -> None:
    """Report what was read from a source."""
    console.print(found.summary(), markup=False, highlight=False, soft_wrap=True)
