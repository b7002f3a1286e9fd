"""Files that are on disk whole or not at all, and that others may read as the umask allows."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from music.errors import InvalidInputError

__all__ = ["require_output_file", "require_output_folder", "require_unfinished", "set_ordinary_modes", "sync_folder"]
__all__ += ["whole_file", "write_whole"]


def require_output_folder(path: Path) -> None:
    """Refuse a folder that could not be written at the end of a long run; nothing is made yet.

    Raises:
        InvalidInputError: It is a file, or lies in one, or may not be written to.
    """
    nearest = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not nearest.is_dir():
        raise InvalidInputError(f"--out {path}: expected a folder, or a name for a new one; {nearest} is a file")
    if not os.access(nearest, os.W_OK):
        raise InvalidInputError(f"--out {path}: expected a folder that may be written to; {nearest} may not")


def require_output_file(path: Path) -> None:
    """Refuse likewise a file that could not be written.

    Raises:
        InvalidInputError: It is a folder, or its folder is none, or may not be written to.
    """
    if path.is_dir():
        raise InvalidInputError(f"--out {path}: expected a file, or a name for a new one; it is a folder")
    require_output_folder(path.parent)


def require_unfinished(out: Path, *marks: str, overwrite: bool) -> None:
    """Refuse a folder that holds what a run leaves at its end, unless it may be replaced.

    Args:
        out: The folder; it need not be there.
        marks: Names within it, any of which a finished run leaves.
        overwrite: Whether it may be replaced.

    Raises:
        InvalidInputError: One of them is there, or the folder cannot be written.
    """
    require_output_folder(out)
    found = [mark for mark in marks if (out / mark).exists()]
    if found and not overwrite:
        raise InvalidInputError(
            f"--out {out}: it holds a finished run or another model ({', '.join(found)}); choose another folder, or "
            "replace it (--overwrite)"
        )


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
    _sync(path.parent)


def write_whole(path: Path, text: str) -> None:
    """Write a text as `whole_file` does."""
    with whole_file(path) as file:
        file.write(text.encode())


def sync_folder(folder: Path) -> None:
    """Wait until the files in a folder, which others wrote, are on disk under their names."""
    for path in sorted(folder.iterdir()):
        if path.is_file():
            _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return  # Windows opens no folders
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def set_ordinary_modes(folder: Path) -> None:
    """Give the weights in a folder the mode of any new file there; safetensors writes them readable by nobody else."""
    probe = folder / f".mode.{os.getpid()}"
    probe.touch()  # asks for the umask without setting it, which would race with other threads
    mode = probe.stat().st_mode & 0o777
    probe.unlink()
    for path in folder.glob("*.safetensors"):
        path.chmod(mode)
