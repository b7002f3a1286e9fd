"""`Workers`, who score the parts of a set, and `LocalWorkers`, this process."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from music.reward.model import RewardModel
from music.reward.scored_set.manifest import ModelIdentity, Plan
from music.reward.scored_set.parts import score_part

__all__ = ["LocalWorkers", "Workers", "identify"]


class Workers(Protocol):
    """Workers that score parts."""

    @property
    def model(self) -> ModelIdentity:
        """The model that they have loaded."""

    def score(self, plan: Plan, numbers: Sequence[int], out: Path) -> Iterator[int]:
        """Score parts in any order, and yield the number of rows of each when its file is there.

        Args:
            plan: Of the run; it is in the manifest of the folder, too.
            numbers: The parts to score.
            out: The folder of the run.
        """


class LocalWorkers:
    """This process, which scores one part after another.

    Args:
        name: Folder or hub id of a reward model.
        loading: Arguments of `RewardModel.from_pretrained`.
    """

    def __init__(self, name: str, loading: Mapping[str, Any]) -> None:
        self._reward_model = RewardModel.from_pretrained(name, **loading)
        self._model = identify(name, self._reward_model)

    @property
    def model(self) -> ModelIdentity:
        """The model that is loaded."""
        return self._model

    def score(self, plan: Plan, numbers: Sequence[int], out: Path) -> Iterator[int]:
        """Score parts; see `Workers`."""
        return (score_part(self._reward_model, plan, number, out) for number in numbers)


def identify(name: str, model: RewardModel) -> ModelIdentity:
    """Return what a manifest records of a model."""
    contract = model.contract
    return ModelIdentity(
        name=name,
        description=model.description,
        fingerprint=model.fingerprint,
        readout=contract.readout,
        read_at=contract.read_at,
    )
