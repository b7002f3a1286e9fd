"""Writing files completely or not at all, with the permissions of the umask."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from music.errors import InvalidInputError, MusicError

__all__ = ["PARTIAL_FILES", "append_to_file", "locked_folder", "remove_file", "replace_file", "require_output_file"]
__all__ += ["require_output_folder", "require_resumable", "require_unfinished", "set_ordinary_modes", "sync_folder"]
__all__ += ["whole_file"]

PARTIAL_FILES = ".*.partial"
"""Pattern of the partial files that `whole_file` leaves if its process is killed."""


def require_output_folder(path: Path) -> None:
    """Refuse a folder that cannot be written, before a long run; nothing is created.

    Raises:
        InvalidInputError: It is a file or inside one, or it is not writable.
    """
    nearest = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not nearest.is_dir():
        raise InvalidInputError(f"--out {path}: expected a folder, or a name for a new one; {nearest} is a file")
    if not os.access(nearest, os.W_OK):
        raise InvalidInputError(f"--out {path}: expected a writable folder; {nearest} is not writable")


def require_output_file(path: Path) -> None:
    """Refuse a file that cannot be written, before a long run.

    Raises:
        InvalidInputError: It is a folder, or its folder is not one or is not writable.
    """
    if path.is_dir():
        raise InvalidInputError(f"--out {path}: expected a file, or a name for a new one; it is a folder")
    require_output_folder(path.parent)


def require_unfinished(out: Path, *marks: str, overwrite: bool) -> None:
    """Refuse a folder that contains a finished run, unless it may be replaced.

    Args:
        out: The folder; it need not exist.
        marks: Names of files in it that a finished run leaves.
        overwrite: Whether it may be replaced.

    Raises:
        InvalidInputError: One of the files exists, or the folder cannot be written.
    """
    require_output_folder(out)
    found = [mark for mark in marks if (out / mark).exists()]
    if found and not overwrite:
        raise InvalidInputError(
            f"--out {out}: it holds a finished run or another model ({', '.join(found)}); choose another folder, or "
            "replace it with --overwrite"
        )


def require_resumable(
    out: Path, record: str, marks: Sequence[str], checkpoints: str, *, resume: bool, overwrite: bool
) -> None:
    """Refuse a folder that contains a finished run, or an unfinished one that would be lost.

    Args:
        out: The folder; it need not exist.
        record: The file that a finished run writes last.
        marks: Names of other files in it that a finished run leaves.
        checkpoints: Pattern of the checkpoints of an unfinished run.
        resume: Whether an unfinished run is resumed.
        overwrite: Whether a run may be replaced.

    Raises:
        InvalidInputError: The folder holds a finished run, without `overwrite`; or it holds an unfinished run, without
            `resume` or `overwrite`; or it cannot be written.
    """
    is_begun, is_finished = any(out.glob(checkpoints)), (out / record).exists()
    if is_finished or not is_begun:
        require_unfinished(out, record, *marks, overwrite=overwrite)
    if is_begun and not (resume or overwrite):
        raise InvalidInputError(
            f"--out {out}: it holds checkpoints of an unfinished run; resume it (--resume), choose another folder, or "
            "replace it with --overwrite"
        )


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Keep other processes from running in a folder within the block; the system unlocks it if this process dies.

    Args:
        folder: The folder; it is created if it does not exist.

    Raises:
        InvalidInputError: Another process has locked it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with (folder / ".lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InvalidInputError(
                f"--out {folder}: another process is running there; wait for its end, or stop it"
            ) from error
        yield


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file that appears under its name, or replaces an earlier one, only when all of it is on disk.

    Args:
        path: Its path; its folder is created if it does not exist.

    Yields:
        The file to write to. An error in the block leaves an earlier file unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # otherwise the name may reach the disk before the content
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def replace_file(path: Path, content: Any) -> None:
    """Write bytes, or text as UTF-8, to a file, completely or not at all.

    Raises:
        MusicError: It could not be written; an earlier file is unchanged.
    """
    try:
        with whole_file(path) as file:
            file.write(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise MusicError(f"could not write {path} ({error}): make room on the disk and run again") from error


def append_to_file(path: Path, content: bytes, *, is_durable: bool = True) -> None:
    """Append bytes to a file, all or none of them.

    Args:
        path: The file, which must exist.
        content: The bytes to append.
        is_durable: Whether to wait until the content is on disk.

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
    """Remove a file, and wait until the removal is on disk."""
    path.unlink()
    _sync(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the files in a folder, written by other code, are on disk under their names."""
    for path in sorted(folder.iterdir()):
        if path.is_file():
            _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return  # Windows cannot open folders
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def set_ordinary_modes(folder: Path) -> None:
    """Give the weights in a folder the mode of any new file there; safetensors lets only the owner read them."""
    probe = folder / f".mode.{os.getpid()}"
    probe.touch()  # reads the umask without setting it, which would race with other threads
    mode = probe.stat().st_mode & 0o777
    probe.unlink()
    for path in folder.glob("*.safetensors"):
        path.chmod(mode)
