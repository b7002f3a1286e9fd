"""`music init`: writes a config and a seed file to begin with."""

from importlib.resources import files
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from music.cli import AsJson, emit
from music.errors import InvalidInputError
from music.files import replace_file

__all__ = ["init"]

CONFIG, SEEDS = "simulate.toml", "seeds.jsonl"
NEXT = (
    f"music simulate --config {CONFIG}",
    "music diagnose runs/pairs",
    "music train runs/pairs --base sandbox --eval-fraction 0.2 --num-epochs 3 --batch-size 16 --out runs/rm",
)
"""The commands that follow; they need no model, key or GPU."""


def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder to write to.")] = Path(),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a commented config of `music simulate` and ten seeds, and print the next commands.

    Example: music init my-project
    """
    paths = [folder / CONFIG, folder / SEEDS]
    if folder.exists() and not folder.is_dir():
        raise InvalidInputError(f"{folder}: expected a folder, or a name for a new one; it is a file")
    if (found := [str(path) for path in paths if path.exists()]) and not overwrite:
        raise InvalidInputError(
            f"{', '.join(found)}: there already; choose another folder, or replace it with --overwrite"
        )
    for path in paths:
        replace_file(path, files("music_agents.starter").joinpath(path.name).read_bytes())
    steps = [*([] if folder == Path() else [f"cd {quote(str(folder))}"]), *NEXT]
    lines = [f"wrote {path}" for path in paths] + ["Next:"] + [f"  {step}" for step in steps]
    emit({"files": paths, "next": steps}, as_json, "\n".join(lines))
