"""Checkpoints of a training run: written whole or not at all, the last few kept, refused by another run.

A checkpoint that cannot be read, or whose best weights cannot, is skipped for an earlier one.
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
"""What torch raises for a file that is cut off or is not a checkpoint."""


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints in a folder.

    Attributes:
        directory: Holds one file per checkpoint, the best weights, and nothing else.
        identity: What the course of the run depends on, by name; a checkpoint with another identity is refused.
        keep: How many of the latest to keep.
    """

    directory: Path
    identity: Mapping[str, str]
    keep: int

    @property
    def paths(self) -> list[Path]:
        """The checkpoints, oldest first."""
        return sorted(self.directory.glob("step-*.pt"))

    def save(self, step: int, state: Mapping[str, Any], best_step: int | None) -> None:
        """Write a checkpoint, then remove those that are too old and best weights that no kept checkpoint needs.

        Args:
            step: Steps taken.
            state: What the run resumes from.
            best_step: Of the best weights so far, if they were saved; see `save_best`.
        """
        for left in self.directory.glob(PARTIAL_FILES):  # by a run that was killed while it wrote
            left.unlink()
        whole = {**state, "identity": dict(self.identity), "best_step": best_step}
        self._write(self._path("step", step), whole)
        for old in self.paths[: -self.keep]:
            old.unlink()
        self._remove_best_but({self._best_step(path) for path in self.paths})

    def save_best(self, step: int, weights: Mapping[str, Any]) -> None:
        """Write the best weights so far."""
        self._write(self._path("best", step), weights)

    def load_best(self, step: int) -> dict[str, Any]:
        """Read the weights that were best after a step."""
        path = self._path("best", step)
        weights: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return weights

    def last_before(self, step: int) -> Path | None:
        """Return the latest checkpoint of an earlier step."""
        bound = self._path("step", step)
        return next((path for path in reversed(self.paths) if path < bound), None)

    def load_last(self) -> dict[str, Any] | None:
        """Read the latest checkpoint that can be read; return None if there is none at all.

        Raises:
            InvalidInputError: It belongs to a run with another configuration or other pairs, or not one is whole.
        """
        damaged: list[str] = []
        for path in reversed(self.paths):
            try:
                state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
                self._require_best(state)
            except _UNREADABLE as error:
                why = re.split(r"\n|\. ", str(error))[0] or type(error).__name__
                damaged.append(f"{path} is damaged ({why})")
                logger.warning("%s: an earlier checkpoint is tried", damaged[-1])
                continue
            self._require_own(state, path)
            return state
        if damaged:
            raise InvalidInputError(f"cannot resume: {'; '.join(damaged)}; delete {self.directory} to begin anew")
        return None

    def _require_own(self, state: Mapping[str, Any], path: Path) -> None:
        """Refuse the checkpoint of another run."""
        theirs: dict[str, str] = state["identity"]
        names = sorted(theirs.keys() | self.identity.keys())
        changed = [
            f"{name} was {theirs.get(name)}, is {self.identity.get(name)}"
            for name in names
            if theirs.get(name) != self.identity.get(name)
        ]
        if changed:
            raise InvalidInputError(f"cannot resume from {path}: {'; '.join(changed)}")

    def _require_best(self, state: Mapping[str, Any]) -> None:
        """Open the best weights that a checkpoint refers to; one without them could not end the run."""
        if (step := state.get("best_step")) is not None:
            torch.load(self._path("best", step), map_location="cpu", weights_only=True, mmap=True)

    def _best_step(self, path: Path) -> int | None:
        """Return the step of the best weights that a checkpoint refers to; None if it has none, or is damaged."""
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
            MusicError: There is no room, for example.
        """
        try:
            with whole_file(path) as file:
                torch.save(dict(state), file)
        except (OSError, RuntimeError) as error:
            # torch fails again when it closes its archive, and raises that error.
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
