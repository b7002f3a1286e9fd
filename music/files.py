"""Files that are on disk whole or not at all, and that others may read as the umask allows."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from music.errors import InvalidInputError, MusicError

__all__ = ["PARTIAL_FILES", "append_to_file", "remove_file", "replace_file", "require_output_file"]
__all__ += ["require_output_folder", "require_unfinished", "set_ordinary_modes", "sync_folder", "whole_file"]

PARTIAL_FILES = ".*.partial"
"""Pattern of what `whole_file` leaves of a file if its process is killed."""


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
        What to write to. An error within the block leaves an earlier file unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # a name may reach the disk before the content does
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def replace_file(path: Path, content: Any) -> None:
    """Write bytes, or text as UTF-8, to a file that appears whole or not at all.

    Raises:
        MusicError: It could not be written; what was there before is unchanged.
    """
    try:
        with whole_file(path) as file:
            file.write(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise MusicError(f"could not write {path} ({error}): make room on the disk and run again") from error


def append_to_file(path: Path, content: bytes, *, is_durable: bool = True) -> None:
    """Append bytes to a file, all or none of them.

    Args:
        path: The file, which is there.
        content: What is appended.
        is_durable: Whether the content is on disk when this returns.

    Raises:
        MusicError: It could not be written; the file is unchanged.
    """
    size = path.stat().st_size
    try:
        with path.open("ab") as file:
            file.write(content)
            file.flush()
            if is_durable:
                os.fsync(file.fileno())
    except OSError as error:
        os.truncate(path, size)
        raise MusicError(f"could not write to {path} ({error}): make room and run again") from error


def remove_file(path: Path) -> None:
    """Remove a file; it is gone from the disk when this returns."""
    path.unlink()
    _sync(path.parent)


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
