"""`Whole`: N whole conversations grow from each seed, and the best is kept."""

import asyncio
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from music.conversation import Conversation
from music.reward.functions import RewardFunction
from music_envs.best_of_n.rollout import Rollout
from music_envs.best_of_n.selection import select_best
from music_envs.best_of_n.stage import BestOfNConfig, Stage
from music_envs.players import Player

__all__ = ["Whole", "sample_pools"]


class Whole(BaseModel):
    """Keep the best of N whole conversations, all scored in one call at the end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def max_calls(self, config: BestOfNConfig) -> int:
        """A reply and a user's message at every turn of N conversations."""
        return config.num_candidates * config.num_turns * 2

    async def __call__(self, seeds: Sequence[Conversation], stage: Stage, reward: RewardFunction) -> list[Rollout]:
        """Grow N conversations from each seed and keep one."""
        return await asyncio.to_thread(select_best, await _grow_pools(seeds, stage), reward)


async def sample_pools(
    seeds: Sequence[Conversation], *, assistant: Player, user: Player, config: BestOfNConfig
) -> list[list[Rollout]]:
    """Grow N whole conversations from each seed, for any number of selectors to `select_best` from.

    Returns:
        Shape `[seeds][num_candidates]`; the user's seeds are shared within a pool, the assistant's are not.
    """
    return await _grow_pools(seeds, Stage(assistant, user, config))


async def _grow_pools(seeds: Sequence[Conversation], stage: Stage) -> list[list[Rollout]]:
    num = stage.config.num_candidates
    places = [(rollout, number) for rollout in stage.begin(seeds) for number in range(num)]
    grown = await asyncio.gather(*(stage.grow(rollout, number) for rollout, number in places))
    return [grown[i : i + num] for i in range(0, len(grown), num)]
