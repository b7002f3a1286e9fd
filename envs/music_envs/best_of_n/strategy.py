"""`run_best_of_n`, and `Strategy`: how conversations are grown and chosen among."""

from collections.abc import Callable, Sequence
from typing import Protocol

from music.conversation import Conversation
from music.reward.functions import RewardFunction
from music_envs.best_of_n.greedy import Greedy
from music_envs.best_of_n.rollout import Rollout
from music_envs.best_of_n.stage import BestOfNConfig, Stage
from music_envs.players import Player

__all__ = ["Strategy", "run_best_of_n"]

GREEDY = Greedy()


class Strategy(Protocol):
    """A way to find good conversations: `Greedy`, `Anytime`, `Beam`, `Whole`, or one of your own."""

    def max_calls(self, config: BestOfNConfig) -> int:
        """Return the most turns that the players speak for one conversation."""
        ...

    async def __call__(self, seeds: Sequence[Conversation], stage: Stage, reward: RewardFunction, /) -> list[Rollout]:
        """Return one rollout per seed, in their order.

        It calls the reward off the event loop, with the candidates of all conversations at once: a reward model then
        computes what they share once.
        """
        ...


async def run_best_of_n(
    seeds: Sequence[Conversation],
    *,
    assistant: Player,
    user: Player,
    reward: RewardFunction,
    config: BestOfNConfig,
    strategy: Strategy = GREEDY,
    on_call: Callable[[], None] = lambda: None,
) -> list[Rollout]:
    """Find a good conversation from each seed.

    A conversation whose endpoint fails ends with an error and leaves the others be. What goes wrong in the reward
    ends the run: a choice without scores would be none. Players on a `MemoizedModel` then know their replies still,
    and the same call goes on from there.

    Args:
        seeds: Where to start. Where a seed ends with the user, the assistant speaks first, else the user.
        assistant: Offers the candidates; sampling should leave room to choose (a temperature above 0).
        user: Goes on from the reply that was kept.
        reward: Selects.
        config: Sizes and seed.
        strategy: How; the paper's by default.
        on_call: Called whenever someone has spoken, for a progress display.

    Returns:
        One rollout per seed, in their order.

    Raises:
        InvalidInputError: The reward function gave scores that are no use.
    """
    stage = Stage(assistant, user, config, on_call)
    return [rollout.finished() for rollout in await strategy(seeds, stage, reward)]
