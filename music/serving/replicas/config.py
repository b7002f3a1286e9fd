"""The settings of replicas on a Ray cluster. The command line reads its flags from here."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from music.config import Config, Flag

__all__ = ["ReplicaConfig"]


class ReplicaConfig(Config):
    """How many replicas of the model there are.

    Example:
        >>> ReplicaConfig(ray=True, replicas="2-8").bounds(num_gpus=0)
        (2, 8)
    """

    ray: Annotated[bool, Flag(name="--ray", panel="Ray")] = False
    """Load the model in replicas on a Ray cluster: that of RAY_ADDRESS or of this machine, or else a new one here."""
    replicas: Annotated[str | None, Flag(panel="Ray", metavar="N|MIN-MAX", show_default="one per GPU")] = Field(
        default=None, pattern=r"^[1-9]\d*(-[1-9]\d*)?$"
    )
    """How many replicas; a range lets Ray Serve add and remove some by the number of requests under way. Each takes one
    GPU (or the share of --gpu-memory) if the cluster has any, else one CPU."""

    @model_validator(mode="after")
    def _needs_ray(self) -> Self:
        if self.replicas is not None and not self.ray:
            raise ValueError("replicas: expected --ray, which starts them; add it, or leave it out")
        lowest, highest = self.bounds(1)
        if lowest > highest:
            raise ValueError(f"replicas: expected MIN-MAX with MIN <= MAX, got {self.replicas}")
        return self

    def bounds(self, num_gpus: int) -> tuple[int, int]:
        """Return the lowest and the highest number of replicas, on a cluster with this many GPUs."""
        if self.replicas is None:
            return max(1, num_gpus), max(1, num_gpus)
        lowest, _, highest = self.replicas.partition("-")
        return int(lowest), int(highest or lowest)
