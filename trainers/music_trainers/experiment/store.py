"""The folder of an experiment: a file for each cell, written whole, and the errors of failed cells."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError

from music.errors import InvalidInputError
from music.files import replace_file
from music_trainers.experiment.cell import CellKey, CellResult, GridCell
from music_trainers.experiment.process_pool import Failure

__all__ = ["CellFailure", "CellStore"]


class CellFailure(BaseModel):
    """A cell without a result."""

    model_config = ConfigDict(frozen=True)

    arm: str
    seed: int
    error: str
    details: str = ""
    """The traceback, if there is one."""


class CellStore:
    """The cells in a folder.

    Args:
        folder: Folder of the experiment; it is created when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cells = folder / "cells"

    @property
    def pairs(self) -> Path:
        """Folder of the simulated pairs."""
        return self._folder / "pairs"

    @property
    def table(self) -> Path:
        """File of the hidden states that the cells of a run need; see `StateTable`."""
        return self._folder / "states.safetensors"

    def read(self, cells: Iterable[GridCell]) -> dict[CellKey, CellResult]:
        """Return the results of the finished cells, in the given order.

        Raises:
            InvalidInputError: A file cannot be read, or belongs to a cell with other settings; the message names them.
        """
        found: dict[CellKey, CellResult] = {}
        changes: list[str] = []
        for cell in cells:
            path = self._path(cell)
            if not path.exists():
                continue
            result = _read(path)
            found[cell.key] = result
            changes += [f"{cell.arm}, seed {cell.seed}: {change}" for change in _changes(result.cell, cell)]
        if changes:
            shown = "; ".join(changes[:5]) + (f"; and {len(changes) - 5} more" if len(changes) > 5 else "")
            raise InvalidInputError(
                f"{self._folder}: expected the cells of this grid, got some with other settings ({shown}): "
                f"give another --out, or remove those files from {self._cells}"
            )
        return found

    def add(self, result: CellResult) -> None:
        """Write a result."""
        replace_file(self._path(result.cell), result.model_dump_json() + "\n")
        self._failure_path(result.cell).unlink(missing_ok=True)

    def add_failure(self, cell: GridCell, failure: Failure) -> CellFailure:
        """Write a failure; the cell runs again next time."""
        record = CellFailure(arm=cell.arm, seed=cell.seed, error=failure.error, details=failure.details)
        replace_file(self._failure_path(cell), record.model_dump_json(indent=2) + "\n")
        return record

    def _path(self, cell: GridCell) -> Path:
        return self._cells / quote(cell.arm, safe=" ()=,") / f"seed-{cell.seed}.json"

    def _failure_path(self, cell: GridCell) -> Path:
        return self._path(cell).with_suffix(".failed.json")


def _read(path: Path) -> CellResult:
    try:
        return CellResult.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InvalidInputError(
            f"{path}: expected the result of a cell, got {error.error_count()} faults, the first in "
            f"{'.'.join(map(str, error.errors()[0]['loc'])) or 'the file'}; remove it to run the cell again"
        ) from error


def _changes(was: object, now: object, name: str = "") -> Iterator[str]:
    """Yield the settings in which two models, or two values of one setting, differ, in words."""
    if was == now:
        return
    before, after = _settings(was), _settings(now)
    if before is None or after is None:
        yield f"{name} was {was}, is {now}"
        return
    for key in dict.fromkeys([*before, *after]):
        yield from _changes(before.get(key, "not there"), after.get(key, "not there"), f"{name}.{key}" if name else key)


def _settings(value: object) -> Mapping[str, object] | None:
    """Return a model or a table as settings by name; None for a plain value."""
    if isinstance(value, BaseModel):
        return {name: getattr(value, name) for name in type(value).model_fields}
    return value if isinstance(value, Mapping) else None
