"""Suggestions for what was misspelt: the nearest of the names that there are, as the end of an error message."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

__all__ = ["nearest", "nearest_path"]

_CUTOFF = 0.6
"""How alike a name and its suggestion are at least, from 0 to 1."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'NAME'?` for the nearest known name; nothing if none is near."""
    found = get_close_matches(name, list(known), n=1, cutoff=_CUTOFF)
    return f"; did you mean {found[0]!r}?" if found else ""


def nearest_path(path: str | Path) -> str:
    """Return the same for a path that is not there, out of what its folder holds."""
    folder = Path(path).parent
    try:
        names = [entry.name for entry in folder.iterdir()]
    except OSError:
        return f"; there is no folder {str(folder)!r}"
    found = get_close_matches(Path(path).name, names, n=1, cutoff=_CUTOFF)
    return f"; did you mean {str(folder / found[0])!r}?" if found else ""
