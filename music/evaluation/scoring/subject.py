"""`Subject`: a reward that is evaluated, and what tells it from others."""

from dataclasses import dataclass
from typing import Protocol

from music.reward import RewardFunction, load_reward

__all__ = ["Named", "Subject", "load_scored_model"]


class Named(Protocol):
    """Whatever gives scores, as a file of scores names it; see `Subject` for what the parts mean."""

    @property
    def name(self) -> str:
        """As the user named it."""
        ...

    @property
    def description(self) -> str:
        """For people."""
        ...

    @property
    def fingerprint(self) -> str | None:
        """What tells its scores from others'."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A reward that is evaluated.

    Attributes:
        name: As the user named it.
        reward: Gives the scores.
        description: Architecture, device and the like, for people; empty for a baseline.
        fingerprint: Changes whenever the scores may; of a model behind a server, its name there. None for what is no
            model, such as `length`: its scores cost nothing, so they are never taken up from an earlier run.
    """

    name: str
    reward: RewardFunction
    description: str = ""
    fingerprint: str | None = None


def load_scored_model(name: str) -> Subject:
    """Open the reward that a user named; see `load_reward`.

    Raises:
        InvalidInputError: There is no such reward.
    """
    reward = load_reward(name)
    server = getattr(reward, "name", None)  # what a server has can be told by its name alone
    return Subject(
        name=name,
        reward=reward,
        description=getattr(reward, "description", ""),
        fingerprint=getattr(reward, "fingerprint", server),
    )
