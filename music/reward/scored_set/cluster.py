"""`ray_workers`: the workers of a Ray cluster, through Ray Data; each loads the model once.

Ray restarts a worker that dies, and gives its part to a worker again. A part in which three workers die ends the run.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from music.errors import InvalidInputError, MusicError
from music.files import PARTIAL_FILES
from music.ray_cluster import enter_folder, ray_cluster
from music.reward.model import RewardModel
from music.reward.scored_set.manifest import Manifest, ModelIdentity, Plan
from music.reward.scored_set.parts import part_path, score_part
from music.reward.scored_set.workers import Workers, identify

__all__ = ["ray_workers"]

_MAX_DEATHS = 3
"""Number of workers that may die in one part, for example because they have no memory left."""


@contextmanager
def ray_workers(
    name: str, loading: Mapping[str, Any], *, address: str | None = None, num_workers: int | None = None
) -> Iterator[Workers]:
    """Join a Ray cluster within the block.

    Args:
        name: Folder or hub id of a reward model, which all nodes see.
        loading: Arguments of `RewardModel.from_pretrained`.
        address: Of the cluster; see `ray_cluster`.
        num_workers: Number of workers. By default one for each GPU of the cluster, or for each CPU if it has none.

    Yields:
        The workers. Each takes one GPU if the cluster has any, else one CPU.

    Raises:
        InvalidInputError: There is no such cluster, or the model cannot be loaded there.
    """
    import ray

    with ray_cluster(address, num_workers) as resources:
        num_gpus = int(resources.get("GPU", 0))
        share: dict[str, Any] = {"num_gpus": 1} if num_gpus else {"num_cpus": 1}
        load: Any = ray.remote(**share)(_identify)
        try:
            model: ModelIdentity | MusicError = ray.get(load.remote(name, loading, os.getcwd()))
        except ray.exceptions.RayError as error:
            raise MusicError(f"the Ray cluster could not load {name}: {error}") from error
        if isinstance(model, MusicError):
            raise model
        num_workers = num_workers or num_gpus or int(resources.get("CPU", 1))
        yield _RayWorkers(model, name, loading, share, num_workers)


class _RayWorkers:
    """The workers of a cluster that this process has joined."""

    def __init__(
        self,
        model: ModelIdentity,
        name: str,
        loading: Mapping[str, Any],
        share: Mapping[str, Any],
        num_workers: int,
    ) -> None:
        self._model, self._name, self._loading = model, name, loading
        self._share, self._num_workers = share, num_workers

    @property
    def model(self) -> ModelIdentity:
        """The model that a worker has loaded."""
        return self._model

    def score(self, plan: Plan, numbers: Sequence[int], out: Path) -> Iterator[int]:
        """Score parts; see `Workers`."""
        import ray.data

        parts = ray.data.from_items([{"number": number} for number in numbers], override_num_blocks=len(numbers))
        num_workers = min(self._num_workers, len(numbers))
        worker: Any = _Worker  # Ray's types know functions only
        done = parts.map(
            worker,
            fn_constructor_args=(self._name, self._loading, out.absolute(), os.getcwd()),
            compute=ray.data.ActorPoolStrategy(size=num_workers, max_tasks_in_flight_per_actor=1),
            **self._share,
        )
        try:
            for row in done.iter_rows():
                if row["error"]:
                    raise InvalidInputError(row["error"])
                yield int(row["num_rows"])
        except ray.exceptions.RayError as error:
            raise MusicError(f"the Ray cluster gave up: {error}; run again to resume") from error


class _Worker:
    """Scores parts in a worker process of Ray."""

    def __init__(self, name: str, loading: Mapping[str, Any], out: Path, place: str) -> None:
        enter_folder(place)
        if (manifest := Manifest.read(out)) is None:
            raise InvalidInputError(
                f"{out} is not there for this worker: the output folder must be on storage that all nodes see under "
                "the same path"
            )
        self._model = RewardModel.from_pretrained(name, **loading)
        manifest.require_model(identify(name, self._model), out)
        self._plan, self._out = manifest.plan, out

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        number = int(row["number"])
        try:
            self._require_alive(number)
            return {"num_rows": score_part(self._model, self._plan, number, self._out), "error": ""}
        except MusicError as error:  # as text: the driver raises it without the traceback of a worker
            return {"num_rows": 0, "error": str(error)}

    def _require_alive(self, number: int) -> None:
        """Give up a part in which worker after worker dies: each leaves an incomplete file, and Ray never gives up."""
        path = part_path(self._out, number)
        num_deaths = len(list(self._out.glob(f".{path.name}{PARTIAL_FILES.removeprefix('.')}")))
        if num_deaths >= _MAX_DEATHS:
            block = self._plan.blocks[number]
            raise InvalidInputError(
                f"{block.path}, rows from {block.first}: {num_deaths} workers died while they scored them, probably "
                "for lack of memory; give the workers more, or lower --part-rows in another folder"
            )


def _identify(name: str, loading: Mapping[str, Any], place: str) -> ModelIdentity | MusicError:
    """Load the model in a worker, and return what it is, or why it cannot be loaded."""
    enter_folder(place)
    try:
        return identify(name, RewardModel.from_pretrained(name, **loading))
    except MusicError as error:
        return error
