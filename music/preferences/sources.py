"""Streams the rows of files, folders and hub data sets in order, each with its place.

One split of a folder or a data set is read: the named one, or the preferred one.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from music.errors import InvalidInputError
from music.names import nearest_path
from music.preferences.files import FILE_NAMES, Row, file_rows, is_data_file, kind_of, stem_of

__all__ = ["Row", "choose_split", "folder_splits", "is_hub_id", "iter_rows", "named_split", "source_files"]

logger = logging.getLogger(__name__)
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_SHARD = re.compile(r"(\w+)-\d{5}-of-\d{5}(-\w+)?")
_SPLIT_NAMES = {"train", "test", "validation", "valid", "val", "dev", "eval"}
_KINDS = (".parquet", ".arrow", ".jsonl", ".ndjson", ".csv", ".tsv", ".json")
"""Only the files of a folder that are of the first kind found are read: the folder of a run holds shards and logs."""


def iter_rows(source: str | Path, split: str | None = None, *, prefer: str = "train") -> Iterator[Row]:
    """Yield the rows of a source.

    Args:
        source: A file, a folder of files of one kind (read in the order of their names), a folder that
            `datasets.save_to_disk` wrote, or a hub id `owner/name`; each optionally followed by `:SPLIT`.
        split: The split of a folder or a hub data set.
        prefer: The split to read if none is named and there are several. A single split is read whatever its name.

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


def source_files(source: str | Path, split: str | None = None) -> list[Path]:
    """Return the files whose rows `iter_rows` yields, in the same order.

    Raises:
        InvalidInputError: There is no such source or split, or the source is no file or folder of files.
    """
    source, named = named_split(source)
    split, path = named or split, Path(source)
    if path.is_dir() and not _is_saved(path):
        return _folder_files(path, split, "train")
    if path.is_file() and split is None:
        return [path]
    if not (path.is_dir() or is_hub_id(source)):
        next(iter_rows(source, split), None)  # raises the reason
    kind = "the folder of datasets.save_to_disk" if path.is_dir() else "not on this machine"
    raise InvalidInputError(
        f"{source}: expected a file, or a folder of data files; it is {kind}. Save it as parquet first: "
        "datasets' Dataset.to_parquet(FILE)"
    )


def named_split(source: str | Path) -> tuple[str | Path, str | None]:
    """Return a source without its `:SPLIT`, and that split; an existing path that holds a colon is unchanged."""
    if isinstance(source, Path) or ":" not in source or Path(source).exists():
        return source, None
    place, _, split = source.rpartition(":")
    return (place, split) if split and (Path(place).exists() or is_hub_id(place)) else (source, None)


def is_hub_id(source: str | Path) -> bool:
    """Whether a source that does not exist may be a hub id; a typo in a local path should not cause a download."""
    looks_local = Path(source).parent.is_dir() or is_data_file(Path(source))
    return isinstance(source, str) and not looks_local and _HUB_ID.fullmatch(source) is not None


def folder_splits(folder: Path) -> dict[str, list[Path]]:
    """Return the data files of a folder, or of its `data/`, by split; all under "" if a file's name has no split."""
    for place in (folder, folder / "data"):
        files = [path for path in sorted(place.glob("*")) if path.is_file() and is_data_file(path)]
        kind = next((kind for kind in _KINDS if any(kind_of(path) == kind for path in files)), None)
        if kind is not None:
            return _by_split([path for path in files if kind_of(path) == kind])
    return {}


def choose_split(source: str, names: Sequence[str], split: str | None, prefer: str) -> str:
    """Return the name of the split to read.

    Args:
        source: The source, for errors.
        names: The names of the existing splits; "" for one without a name.
        split: The split that the user asked for.
        prefer: The split to read if the user asked for none and there are several.

    Raises:
        InvalidInputError: There is no such split, or there are several and not the preferred one.
    """
    if split is None and len(names) == 1:
        return names[0]
    wanted = prefer if split is None else split
    if wanted in names:
        return wanted
    known = ", ".join(filter(None, names)) or "no splits"
    raise InvalidInputError(
        f"{source}: expected an existing split, got {wanted!r}; there are {known}. "
        f"Name one with --split or as {source}:SPLIT"
    )


def _folder_rows(folder: Path, split: str | None, prefer: str) -> Iterator[Row]:
    if _is_saved(folder):
        yield from _saved_rows(folder, split, prefer)
        return
    for file in _folder_files(folder, split, prefer):
        yield from file_rows(file)


def _folder_files(folder: Path, split: str | None, prefer: str) -> list[Path]:
    splits = folder_splits(folder)
    if not splits:
        raise InvalidInputError(f"{folder}: expected a folder of files ending in {FILE_NAMES}, found none")
    return splits[choose_split(str(folder), list(splits), split, prefer)]


def _is_saved(folder: Path) -> bool:
    """Whether `datasets.save_to_disk` wrote a folder."""
    return (folder / "state.json").exists() or (folder / "dataset_dict.json").exists()


def _saved_rows(folder: Path, split: str | None, prefer: str) -> Iterator[Row]:
    """Yield the rows of a folder that `datasets.save_to_disk` wrote."""
    import datasets

    try:
        found = datasets.load_from_disk(str(folder))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{folder}: expected a data set written by save_to_disk: {error}") from error
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
    """Group files by the split in their names, which follow the hub's conventions; all under "" if one has none."""
    splits: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        stem = stem_of(path.name)
        shard = _SHARD.fullmatch(stem)
        unsharded = stem if stem in _SPLIT_NAMES else ""
        splits[shard[1] if shard else unsharded].append(path)
    return {"": list(files)} if "" in splits else dict(splits)
