"""Rows of files, folders and hub data sets, streamed in order, each with its place.

Of a folder or a data set one split is read: the one that is named, or the one to prefer.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from music.errors import InvalidInputError
from music.names import nearest_path
from music.preferences.files import FILE_NAMES, Row, file_rows, is_data_file, kind_of, stem_of

__all__ = ["Row", "choose_split", "folder_splits", "is_hub_id", "iter_rows", "named_split"]

logger = logging.getLogger(__name__)
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_SHARD = re.compile(r"(\w+)-\d{5}-of-\d{5}(-\w+)?")
_SPLIT_NAMES = {"train", "test", "validation", "valid", "val", "dev", "eval"}
_KINDS = (".parquet", ".arrow", ".jsonl", ".ndjson", ".csv", ".tsv", ".json")
"""Of a folder's files those of the first kind are read: a run's shards lie beside its logs."""


def iter_rows(source: str | Path, split: str | None = None, *, prefer: str = "train") -> Iterator[Row]:
    """Yield the rows of a source.

    Args:
        source: A file, a folder of files of one kind (read in the order of their names), a folder that
            `datasets.save_to_disk` wrote, or a hub id `owner/name`; each perhaps with `:SPLIT` behind it.
        split: Which split of a folder or a hub data set.
        prefer: Which split if none is named and there are several; a single one is taken whatever its name.

    Raises:
        InvalidInputError: There is no such source or split, it is of no known kind, or it cannot be read to its end.
    """
    source, named = named_split(source)
    split, path = named or split, Path(source)
    if path.is_dir():
        yield from _folder_rows(path, split, prefer)
    elif path.exists():
        if split is not None:
            raise InvalidInputError(f"{path}: a single file has no splits, got split {split!r}; leave it out")
        yield from file_rows(path)
    elif is_hub_id(source):
        yield from _hub_rows(str(source), split, prefer)
    else:
        raise InvalidInputError(
            f"{source}: expected a file, a folder of data files or a hub id (owner/name); found nothing there"
            f"{nearest_path(source)}"
        )


def named_split(source: str | Path) -> tuple[str | Path, str | None]:
    """Return a source without the `:SPLIT` behind it, and that split; a path that is there wins."""
    if isinstance(source, Path) or ":" not in source or Path(source).exists():
        return source, None
    place, _, split = source.rpartition(":")
    return (place, split) if split and (Path(place).exists() or is_hub_id(place)) else (source, None)


def is_hub_id(source: str | Path) -> bool:
    """Whether a source that is not there may name a data set; a slip in a local path should not go to the network."""
    looks_local = Path(source).parent.is_dir() or is_data_file(Path(source))
    return isinstance(source, str) and not looks_local and _HUB_ID.fullmatch(source) is not None


def folder_splits(folder: Path) -> dict[str, list[Path]]:
    """Return the data files of a folder, or of `data/` within it, by split; "" if their names have none."""
    for place in (folder, folder / "data"):
        files = [path for path in sorted(place.glob("*")) if path.is_file() and is_data_file(path)]
        kind = next((kind for kind in _KINDS if any(kind_of(path) == kind for path in files)), None)
        if kind is not None:
            return _by_split([path for path in files if kind_of(path) == kind])
    return {}


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


def _folder_rows(folder: Path, split: str | None, prefer: str) -> Iterator[Row]:
    if (folder / "state.json").exists() or (folder / "dataset_dict.json").exists():
        yield from _saved_rows(folder, split, prefer)
        return
    splits = folder_splits(folder)
    if not splits:
        raise InvalidInputError(f"{folder}: expected a folder of files ending in {FILE_NAMES}, found none")
    for file in splits[choose_split(str(folder), list(splits), split, prefer)]:
        yield from file_rows(file)


def _saved_rows(folder: Path, split: str | None, prefer: str) -> Iterator[Row]:
    """Yield the rows of what `datasets.save_to_disk` wrote."""
    import datasets

    try:
        found = datasets.load_from_disk(str(folder))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{folder}: expected a data set as save_to_disk writes it: {error}") from error
    splits = found if isinstance(found, datasets.DatasetDict) else {"": found}
    chosen = splits[choose_split(str(folder), list(splits), split, prefer)]
    for number, content in enumerate(chosen, start=1):
        yield Row(folder.name, "row", number, content)


def _hub_rows(source: str, split: str | None, prefer: str) -> Iterator[Row]:
    import datasets

    logger.warning("%s: no such path here; asking the Hugging Face hub", source)
    try:
        splits = datasets.load_dataset(source)
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"{source}: there is no such file here, and a data set of this name could not be loaded from the hub: "
            f"{error}{nearest_path(source)}"
        ) from error
    for number, content in enumerate(splits[choose_split(source, list(splits), split, prefer)], start=1):
        yield Row(source, "row", number, content)


def _by_split(files: Sequence[Path]) -> dict[str, list[Path]]:
    splits: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        splits[_split_of(path)].append(path)
    return {"": list(files)} if "" in splits else dict(splits)


def _split_of(path: Path) -> str:
    """Return the split in a file's name, as the hub names files; "" for none."""
    stem = stem_of(path.name)
    if shard := _SHARD.fullmatch(stem):
        return shard[1]
    return stem if stem in _SPLIT_NAMES else ""
