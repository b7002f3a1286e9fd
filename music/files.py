"""Files that are on disk whole or not at all, and that others may read as the umask allows."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["set_ordinary_modes", "whole_file"]


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file that appears under its name when all of it is on disk, in place of any earlier one.

    Args:
        path: Its name; its folder is made if it is not there.

    Yields:
        What to write to. An error within the block leaves an earlier file as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # a name may reach the disk before the content does
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def set_ordinary_modes(folder: Path) -> None:
    """Give the weights in a folder the mode of any new file there; safetensors writes them readable by nobody else."""
    probe = folder / f".mode.{os.getpid()}"
    probe.touch()  # asks for the umask without setting it, which would race with other threads
    mode = probe.stat().st_mode & 0o777
    probe.unlink()
    for path in folder.glob("*.safetensors"):
        path.chmod(mode)
