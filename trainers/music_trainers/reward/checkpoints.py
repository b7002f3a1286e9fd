"""Checkpoints of a training run: written whole or not at all, the last few kept, refused by another run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from music.errors import InvalidInputError

__all__ = ["Checkpoints"]


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints in a folder.

    Attributes:
        directory: Holds one file per checkpoint, the best weights, and nothing else.
        identity: What the run's course depends on, by name; a checkpoint with another identity is not continued.
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
        """Write a checkpoint, then remove those that are too old, and all best weights but those of `best_step`."""
        self._write(self._path("step", step), {**state, "identity": dict(self.identity)})
        for old in self.paths[: -self.keep]:
            old.unlink()
        # Not before: a run that resumes from an older checkpoint may need the weights that were best then.
        self._remove_best_but(best_step)

    def save_best(self, step: int, weights: Mapping[str, Any]) -> None:
        """Write the best weights so far."""
        self._write(self._path("best", step), weights)

    def load_best(self, step: int) -> dict[str, Any]:
        """Read the weights that were best after a step."""
        weights: dict[str, Any] = torch.load(self._path("best", step), map_location="cpu", weights_only=True)
        return weights

    def last_before(self, step: int) -> Path | None:
        """Return the latest checkpoint of an earlier step."""
        bound = self._path("step", step)
        return next((path for path in reversed(self.paths) if path < bound), None)

    def load_last(self) -> dict[str, Any] | None:
        """Read the latest checkpoint, or return None if there is none.

        Raises:
            InvalidInputError: It belongs to a run with another configuration or other pairs.
        """
        if not self.paths:
            return None
        state: dict[str, Any] = torch.load(self.paths[-1], map_location="cpu", weights_only=True)
        theirs: dict[str, str] = state["identity"]
        names = sorted(theirs.keys() | self.identity.keys())
        changed = [
            f"{name} was {theirs.get(name)}, is {self.identity.get(name)}"
            for name in names
            if theirs.get(name) != self.identity.get(name)
        ]
        if changed:
            raise InvalidInputError(f"cannot resume from {self.paths[-1]}: {'; '.join(changed)}")
        return state

    def require_none(self) -> None:
        """Refuse to begin anew over an unfinished run.

        Raises:
            InvalidInputError: There are checkpoints.
        """
        if self.paths:
            raise InvalidInputError(
                f"{self.directory} holds checkpoints of an unfinished run: resume it (--resume), choose another "
                f"output folder, or delete the checkpoints"
            )

    def remove(self) -> None:
        """Remove all checkpoints, and the folder if nothing else is in it."""
        self._remove_best_but(None)
        for path in [*self.paths, *self.directory.glob("*.partial")]:
            path.unlink()
        if self.directory.is_dir() and not any(self.directory.iterdir()):
            self.directory.rmdir()

    def _path(self, kind: str, step: int) -> Path:
        return self.directory / f"{kind}-{step:08d}.pt"

    def _write(self, path: Path, state: Mapping[str, Any]) -> None:
        """Write a file whole or not at all."""
        self.directory.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        torch.save(dict(state), partial)
        partial.replace(path)

    def _remove_best_but(self, step: int | None) -> None:
        kept = None if step is None else self._path("best", step)
        for path in self.directory.glob("best-*.pt"):
            if path != kept:
                path.unlink()
