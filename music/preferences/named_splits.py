"""Splits of folders and data sets: which there are, and which is read."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from music.errors import InvalidInputError
from music.preferences.files import is_data_file, kind_of, stem_of

__all__ = ["choose_split", "folder_splits"]

_SHARD = re.compile(r"(\w+)-\d{5}-of-\d{5}(-\w+)?")
_SPLIT_NAMES = {"train", "test", "validation", "valid", "val", "dev", "eval"}
_KINDS = (".parquet", ".arrow", ".jsonl", ".ndjson", ".csv", ".tsv", ".json")
"""Of a folder's files those of the first kind are read: a run's shards lie beside its logs."""


def folder_splits(folder: Path) -> dict[str, list[Path]]:
    """Return the data files of a folder, or of `data/` within it, by split; "" where their names tell none."""
    for place in (folder, folder / "data"):
        files = [path for path in sorted(place.glob("*")) if path.is_file() and is_data_file(path)]
        kind = next((kind for kind in _KINDS if any(kind_of(path) == kind for path in files)), None)
        if kind is not None:
            return _by_split([path for path in files if kind_of(path) == kind])
    return {}


def _by_split(files: Sequence[Path]) -> dict[str, list[Path]]:
    splits: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        splits[_split_of(path)].append(path)
    return {"": list(files)} if "" in splits else dict(splits)


def _split_of(path: Path) -> str:
    """Return the split that a file's name tells, as the hub names files; "" for none."""
    stem = stem_of(path.name)
    if shard := _SHARD.fullmatch(stem):
        return shard[1]
    return stem if stem in _SPLIT_NAMES else ""


def choose_split(source: str, names: Sequence[str], split: str | None, prefer: str) -> str:
    """Return which of the splits is read.

    Args:
        source: Named in errors.
        names: The splits that there are; "" for one that has no name.
        split: As asked for.
        prefer: Taken if none is asked for and there are several.

    Raises:
        InvalidInputError: There is no such split, or several and none to prefer.
    """
    if split is None and len(names) == 1:
        return names[0]
    wanted = prefer if split is None else split
    if wanted in names:
        return wanted
    known = ", ".join(filter(None, names)) or "no splits"
    raise InvalidInputError(
        f"{source}: expected a split that there is, got {wanted!r}; there are {known}. "
        f"Name one with --split or as {source}:SPLIT"
    )
