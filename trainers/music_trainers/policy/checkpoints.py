"""Checkpoints of a policy run: each appears whole or not at all; the last few are kept; other runs refuse them."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from music.conversation import Conversation
from music.errors import InvalidInputError, MusicError
from music.files import PARTIAL_FILES, replace_file, set_ordinary_modes, sync_folder
from music.llm.endpoints import read_remote
from music_trainers.policy.config import CHECKPOINT_FOLDER, CHECKPOINTS, PolicyTrainingConfig
from music_trainers.policy.records import PolicyEvaluation
from music_trainers.policy.steps import TrainingStep

__all__ = ["PolicyCheckpoints", "RunState"]

STATE_FILE = "run.json"
WITHOUT_INFLUENCE = {"out", "micro_batch_size", "checkpoint_every", "keep_checkpoints", "resume", "overwrite"}
WITHOUT_INFLUENCE |= {"max_outage", "vllm_server"}
"""Settings that change a run only by rounding, or by a vLLM server's draws; a resumed run may have other values."""


class RunState(BaseModel):
    """What a run has measured so far; the trainer saves weights, optimizer and generators beside it.

    Attributes:
        settings: Everything that the result depends on, by name.
        step: Steps of training.
        greedy_before: The starting policy with greedy replies.
        curve: The evaluations so far.
        steps: The steps so far.
        seconds: How long they took.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    settings: dict[str, str]
    step: int
    greedy_before: PolicyEvaluation
    curve: tuple[PolicyEvaluation, ...]
    steps: tuple[TrainingStep, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class PolicyCheckpoints:
    """The checkpoints of a run in its output folder.

    Attributes:
        directory: Holds one folder per checkpoint, and nothing else.
        settings: As in `RunState`; a checkpoint must have the same.
        keep: How many of the latest checkpoints to keep.
    """

    directory: Path
    settings: Mapping[str, str]
    keep: int

    @classmethod
    def of(cls, config: PolicyTrainingConfig, prompts: Sequence[Conversation]) -> Self:
        """Return the checkpoints of a run with these settings and prompts."""
        settings = {name: _named(value) for name, value in config.model_dump(exclude=WITHOUT_INFLUENCE).items()}
        digest = sha256(b"\n".join(prompt.model_dump_json().encode() for prompt in prompts)).hexdigest()[:16]
        return cls(config.out / CHECKPOINT_FOLDER, settings | {"prompts": digest}, config.keep_checkpoints)

    @property
    def paths(self) -> list[Path]:
        """The checkpoints, oldest first."""
        return sorted(self.directory.glob(CHECKPOINTS))

    def save(self, state: RunState, write: Callable[[Path], None]) -> Path:
        """Write a checkpoint unless there is one of this step; then remove old ones.

        Args:
            state: What the run has measured.
            write: Writes weights, optimizer and generators into a folder.

        Raises:
            MusicError: It cannot be written, for example because the disk is full.
        """
        path = self.directory / f"step-{state.step:08d}"
        if path.exists():
            return path
        self._remove_partial()
        partial = self.directory / f".{path.name}.partial"
        try:
            partial.mkdir(parents=True)
            write(partial)
            set_ordinary_modes(partial)
            replace_file(partial / STATE_FILE, state.model_dump_json())
            sync_folder(partial)
            partial.rename(path)
            sync_folder(self.directory)
        except OSError as error:
            raise MusicError(f"{path} could not be written ({error}): make room on the disk, then --resume") from error
        for old in self.paths[: -self.keep]:
            shutil.rmtree(old)
        return path

    def load_last(self) -> tuple[Path, RunState] | None:
        """Return the latest checkpoint with its state; None if there is none.

        Raises:
            InvalidInputError: It belongs to a run with other settings, or is damaged.
        """
        if not self.paths:
            return None
        path = self.paths[-1]
        try:
            state = RunState.model_validate_json((path / STATE_FILE).read_bytes())
        except (OSError, ValidationError) as error:
            why = str(error).partition("\n")[0]
            raise InvalidInputError(
                f"cannot resume: {path} is damaged ({why}); delete it to use an earlier one"
            ) from error
        names = sorted(state.settings.keys() | self.settings.keys())
        pairs = {name: (state.settings.get(name), self.settings.get(name)) for name in names}
        changed = [f"{name} was {was}, is {now}" for name, (was, now) in pairs.items() if was != now]
        if changed:
            raise InvalidInputError(f"cannot resume from {path}: {'; '.join(changed)}")
        return path, state

    def remove(self) -> None:
        """Remove all checkpoints."""
        self._remove_partial()
        for path in self.paths:
            shutil.rmtree(path)
        if self.directory.is_dir() and not any(self.directory.iterdir()):
            self.directory.rmdir()

    def _remove_partial(self) -> None:
        for partial in self.directory.glob(PARTIAL_FILES):  # left by a run that was killed while it wrote
            shutil.rmtree(partial)


def _named(value: object) -> str:
    """Return a setting as text. A server may move: of `MODEL@URL`, the model counts."""
    remote = read_remote(value.partition(",")[0]) if isinstance(value, str) else None
    return f"{remote[0]} on a server" if remote else str(value)
