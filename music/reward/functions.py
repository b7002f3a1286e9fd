"""Rewards as plain callables: the protocol, the baselines, and how users name a reward on the command line."""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.names import require_model
from music.registry import ORACLE, load_built_in

if TYPE_CHECKING:
    from music.reward.model import RewardModel

__all__ = ["RewardFunction", "length_reward", "load_reward", "random_reward", "require_reward"]

WORDS = (ORACLE, "length", "random")


class RewardFunction(Protocol):
    """Anything that gives one reward per conversation: a `RewardModel`, a `RemoteReward`, the sandbox's oracle."""

    def __call__(self, conversations: Sequence[Conversation]) -> list[float]:
        """Return one reward per conversation, higher for better.

        Raises:
            UnscorableError: A conversation has none.
        """
        ...


def length_reward(conversations: Sequence[Conversation]) -> list[float]:
    """Reward the characters that the assistant wrote: among replies to one history, the longest wins."""
    return [float(sum(len(m.content) for m in c.messages if m.role == "assistant")) for c in conversations]


def random_reward(seed: int = 0) -> RewardFunction:
    """Return a reward drawn uniformly from [0, 1); the sequence of draws follows from the seed."""
    rng = random.Random(seed)

    def reward(conversations: Sequence[Conversation]) -> list[float]:
        return [rng.random() for _ in conversations]

    return reward


def require_reward(spec: str) -> None:
    """Refuse at once a reward that cannot be opened, as far as that shows without loading anything.

    Args:
        spec: As for `load_reward`.

    Raises:
        InvalidInputError: It is no reward's name, or there is no such folder.
    """
    from music.llm.endpoints import read_remote

    if spec.partition(":")[0] not in WORDS and not read_remote(spec):
        require_model(spec.removeprefix("prefix-mean:"), WORDS)


def load_reward(spec: str) -> RewardFunction:
    """Open the reward that a user named.

    Args:
        spec: `oracle` (the sandbox's), `length`, `random` or `random:SEED`, the path or hub id of a reward model,
            `MODEL@BASE_URL` for one that a server has (see `music.reward.remote`), or `prefix-mean:` and a path or hub
            id, for the model with the readout `turn_mean`: a control that needs no training.

    Raises:
        InvalidInputError: The seed is not a number, or there is no such reward model, or it cannot have that readout,
            or the URL is none.
    """
    if spec == ORACLE:
        oracle: RewardFunction = load_built_in("reward", ORACLE)
        return oracle
    if spec == "length":
        return length_reward
    name, _, argument = spec.partition(":")
    if name == "random":
        if not argument.isdecimal() and spec != "random":
            raise InvalidInputError(f"expected random:SEED with a whole number, got {spec!r}")
        return random_reward(int(argument or 0))
    if name == "prefix-mean":
        return _load(argument).with_readout("turn_mean")
    from music.llm.endpoints import read_remote

    require_reward(spec)
    if remote := read_remote(spec):
        if read_remote(spec.partition(",")[0]) != remote:
            raise InvalidInputError("expected one server for a reward, got several: put a load balancer before them")
        from music.reward.remote import RemoteReward

        return RemoteReward(*remote)
    return _load(spec)


def _load(path: str) -> "RewardModel":
    from music.reward.model import RewardModel

    return RewardModel.from_pretrained(path)
