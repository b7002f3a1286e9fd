"""Files that are replaced or removed as a whole, even if the process or the machine dies."""

import os
from pathlib import Path
from typing import Any

from music.errors import MusicError

__all__ = ["TEMPORARY_SUFFIX", "remove_file", "replace_file"]

TEMPORARY_SUFFIX = ".tmp"


def replace_file(path: Path, content: Any) -> None:
    """Write bytes to a file that appears whole or not at all.

    Raises:
        MusicError: It could not be written; what was there before is as it was.
    """
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise MusicError(f"could not write {path} ({error}): make room on the disk and run again") from error


def remove_file(path: Path) -> None:
    """Remove a file, on disk when this returns."""
    path.unlink()
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    """Bring a directory's names to the disk, where directories can be opened."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
