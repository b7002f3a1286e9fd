"""Rewards as plain callables: the protocol, two baselines, and loading a reward by its name."""

import random
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.names import find_model
from music.registry import ORACLE, load_built_in

if TYPE_CHECKING:
    from music.reward.model import RewardModel

__all__ = ["RewardFunction", "length_reward", "load_reward", "random_reward", "require_reward"]

WORDS = (ORACLE, "length", "random")
BETA = 0.1
"""The factor of an implicit reward, which is DPO's usual one."""


class RewardFunction(Protocol):
    """A callable that gives one reward per conversation: a `RewardModel`, a `RemoteReward` or a function of your own.

    A conversation's reward must not depend on the other conversations in the call. `music.testing.check_reward` checks
    this and the rest of the contract.

    Example:
        >>> def brevity(conversations: Sequence[Conversation]) -> list[float]:
        ...     return [-float(len(c.messages[-1].content)) for c in conversations]
        >>> reward: RewardFunction = brevity
        >>> reward([Conversation().user("Hi!").assistant("Hello.")])
        [-6.0]
    """

    def __call__(self, conversations: Sequence[Conversation]) -> list[float]:
        """Return one finite reward per conversation, in their order. Higher is better.

        Raises:
            UnscorableError: A conversation has no reward.
        """
        ...


def length_reward(conversations: Sequence[Conversation]) -> list[float]:
    """Return the number of characters that the assistant wrote: among replies to one history, the longest wins.

    Example:
        >>> length_reward([Conversation().user("Hi!").assistant("Hello.")])
        [6.0]
    """
    return [float(sum(len(m.content) for m in c.messages if m.role == "assistant")) for c in conversations]


def random_reward(seed: int = 0) -> RewardFunction:
    """Return a function whose rewards are drawn uniformly from [0, 1), from a seed.

    Example:
        >>> reward = random_reward(seed=0)
        >>> round(reward([Conversation().user("Hi!").assistant("Hello.")])[0], 3)
        0.844
    """
    rng = random.Random(seed)

    def reward(conversations: Sequence[Conversation]) -> list[float]:
        return [rng.random() for _ in conversations]

    return reward


def require_reward(spec: str) -> None:
    """Check that a name can be that of a reward, without loading it.

    Args:
        spec: As for `load_reward`.

    Raises:
        InvalidInputError: The name is not that of a reward, or there is no such folder.
    """
    if (pair := _read_implicit(spec)) is not None:
        for model in pair[:2]:
            find_model(model, "language_model")
    elif spec.partition(":")[0] not in WORDS and not _read_servers(spec):
        find_model(spec.removeprefix("prefix-mean:"), words=WORDS)


def load_reward(spec: str) -> RewardFunction:
    """Load a reward by its name, as commands and environments do.

    | name | reward |
    |---|---|
    | a folder or hub id | the reward model there, a `RewardModel` |
    | `sandbox` | the sandbox's own reward model |
    | `prefix-mean:` and a folder or hub id | the same with the readout `turn_mean`: a control that needs no training |
    | `dpo:POLICY:REFERENCE[:BETA]` | what a policy trained with DPO rewards: an `ImplicitReward` |
    | `MODEL@URL`, `MODEL@URL,URL` | a model behind a server, or behind replicas of one: a `RemoteReward` |
    | `oracle` | the sandbox's own grade |
    | `length` | `length_reward` |
    | `random`, `random:SEED` | `random_reward` |

    Example:
        >>> load_reward("length")([Conversation().user("Hi!").assistant("Hello.")])
        [6.0]
        >>> reward = load_reward("runs/rm")  # doctest: +SKIP

    Args:
        spec: The name.

    Raises:
        InvalidInputError: There is no such reward model, it cannot have that readout, the seed is not a whole number,
            or the URL is not valid.
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
    require_reward(spec)
    if (pair := _read_implicit(spec)) is not None:
        from music.reward.implicit import ImplicitReward

        return ImplicitReward.from_pretrained(pair[0], pair[1], beta=pair[2])
    if servers := _read_servers(spec):
        from music.reward.remote import RemoteReward

        return RemoteReward(*servers)
    return _load(spec)


def _read_implicit(spec: str) -> tuple[str, str, float] | None:
    """Return the policy, the reference and beta of `dpo:POLICY:REFERENCE[:BETA]`; None for another form.

    Raises:
        InvalidInputError: A model is missing, or beta is not a positive number.
    """
    kind, *parts = spec.split(":")
    if kind != "dpo":
        return None
    policy, reference, beta = (*parts, *([""] * 3))[:3]
    with suppress(ValueError):
        number = float(beta or BETA)
        if policy and reference and len(parts) <= 3 and 0 < number < float("inf"):
            return policy, reference, number
    raise InvalidInputError(
        f"expected dpo:POLICY:REFERENCE or dpo:POLICY:REFERENCE:BETA with BETA above 0, got {spec!r}"
    )


def _read_servers(spec: str) -> tuple[str, list[str]] | None:
    """Return the model and the URLs of `MODEL@URL[,URL...]`; None for another form. `MODEL@` may stand in each part.

    Raises:
        InvalidInputError: The parts name several models, or a part is no URL.
    """
    from music.llm.endpoints import read_remote

    first, *others = [part.strip() for part in spec.split(",")]
    if (remote := read_remote(first)) is None:
        return None
    parts = [remote, *(read_remote(part) or read_remote(f"{remote[0]}@{part}") for part in others)]
    if any(part is None or part[0] != remote[0] for part in parts):
        raise InvalidInputError(
            "expected MODEL@URL[,URL...], replicas of one model, got several models or a part without a URL"
        )
    return remote[0], [part[1] for part in parts if part]


def _load(path: str) -> "RewardModel":
    from music.reward.model import RewardModel

    return RewardModel.from_pretrained(path)
