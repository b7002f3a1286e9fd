"""Output folders of training runs: a finished one is replaced on request only."""

from pathlib import Path

from music.errors import InvalidInputError
from music.files import require_output_folder

__all__ = ["require_unfinished"]


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
