"""Checkpoints of a training run. Each is written whole or not at all; the last few are kept; other runs refuse them.

If a checkpoint or its best weights cannot be read, an earlier checkpoint is used.
"""

import logging
import pickle
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from music.errors import InvalidInputError, MusicError
from music.files import PARTIAL_FILES, whole_file

__all__ = ["Checkpoints"]

logger = logging.getLogger(__name__)

_UNREADABLE = (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError)
"""The errors that torch raises for a truncated file, or for a file that is not a checkpoint."""


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints in a folder.

    Attributes:
        directory: Holds one file per checkpoint, the best weights, and nothing else.
        identity: Everything that the result of the run depends on, by name; a checkpoint must have the same.
        keep: How many of the latest checkpoints to keep.
    """

    directory: Path
    identity: Mapping[str, str]
    keep: int

    @property
    def paths(self) -> list[Path]:
        """The checkpoints, oldest first."""
        return sorted(self.directory.glob("step-*.pt"))

    def save(self, step: int, state: Mapping[str, Any], best_step: int | None) -> None:
        """Write a checkpoint; then remove old checkpoints, and best weights that no kept checkpoint needs.

        Args:
            step: Steps taken.
            state: The state from which the run resumes.
            best_step: Step of the best weights so far, if they were saved by `save_best`.
        """
        for partial in self.directory.glob(PARTIAL_FILES):  # left by a run that was killed while it wrote
            partial.unlink()
        whole = {**state, "identity": dict(self.identity), "best_step": best_step}
        self._write(self._path("step", step), whole)
        for old in self.paths[: -self.keep]:
            old.unlink()
        self._remove_best_but({self._best_step(path) for path in self.paths})

    def save_best(self, step: int, weights: Mapping[str, Any]) -> None:
        """Write the best weights so far."""
        self._write(self._path("best", step), weights)

    def load_best(self, step: int) -> dict[str, Any]:
        """Read the best weights, which were saved after a step."""
        path = self._path("best", step)
        weights: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return weights

    def last_before(self, step: int) -> Path | None:
        """Return the latest checkpoint of an earlier step."""
        bound = self._path("step", step)
        return next((path for path in reversed(self.paths) if path < bound), None)

    def load_last(self) -> dict[str, Any] | None:
        """Read the latest checkpoint that is not damaged; return None if there are no checkpoints.

        Raises:
            InvalidInputError: It belongs to a run with other settings or other pairs, or all are damaged.
        """
        damaged: list[str] = []
        for path in reversed(self.paths):
            try:
                state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
                if (step := state.get("best_step")) is not None:  # without these weights the run could not end
                    self.load_best(step)
            except _UNREADABLE as error:
                why = re.split(r"\n|\. ", str(error))[0] or type(error).__name__
                damaged.append(f"{path} is damaged ({why})")
                logger.warning("%s: trying an earlier checkpoint", damaged[-1])
                continue
            self._require_own(state, path)
            return state
        if damaged:
            raise InvalidInputError(f"cannot resume: {'; '.join(damaged)}; delete {self.directory} to start again")
        return None

    def _require_own(self, state: Mapping[str, Any], path: Path) -> None:
        """Raise `InvalidInputError` if the checkpoint belongs to another run."""
        theirs: dict[str, str] = state["identity"]
        names = sorted(theirs.keys() | self.identity.keys())
        changed = [
            f"{name} was {theirs.get(name)}, is {self.identity.get(name)}"
            for name in names
            if theirs.get(name) != self.identity.get(name)
        ]
        if changed:
            raise InvalidInputError(f"cannot resume from {path}: {'; '.join(changed)}")

    def _best_step(self, path: Path) -> int | None:
        """Return the step of the best weights that a checkpoint needs; None if it needs none or is damaged."""
        try:
            step: int | None = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["best_step"]
        except _UNREADABLE:
            return None
        return step

    def remove(self) -> None:
        """Remove all checkpoints, and the folder if nothing else is in it."""
        self._remove_best_but(set())
        for path in [*self.paths, *self.directory.glob(PARTIAL_FILES)]:
            path.unlink()
        if self.directory.is_dir() and not any(self.directory.iterdir()):
            self.directory.rmdir()

    def _path(self, kind: str, step: int) -> Path:
        return self.directory / f"{kind}-{step:08d}.pt"

    def _write(self, path: Path, state: Mapping[str, Any]) -> None:
        """Write a file whole or not at all.

        Raises:
            MusicError: The file cannot be written, for example because the disk is full.
        """
        try:
            with whole_file(path) as file:
                torch.save(dict(state), file)
        except (OSError, RuntimeError) as error:
            # torch fails a second time when it closes its archive, and raises that error instead.
            cause = error if isinstance(error, OSError) else error.__context__
            if not isinstance(cause, OSError):
                raise
            last = self.paths[-1].name if self.paths else "there is none"
            raise MusicError(
                f"{path} could not be written ({cause.strerror}): fix that and resume from the last checkpoint, "
                f"{last} (--resume)"
            ) from error

    def _remove_best_but(self, steps: Container[int | None]) -> None:
        for path in self.directory.glob("best-*.pt"):
            if int(path.stem.removeprefix("best-")) not in steps:
                path.unlink()
