"""The flag that loads code of the user's own."""

from typing import Annotated

import typer

__all__ = ["ImportFlag"]

ImportFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        metavar="FILE.py|MODULE",
        help="Load code of your own, which may register contrasts; may be repeated.",
    ),
]
"""Hand its values to `music.user_code.import_code` before anything that the code may add to is looked up."""
