"""`Greedy`: the paper's Best-of-N. At every turn the assistant offers N replies, the best is kept, the user goes on."""

import asyncio
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from music.conversation import Conversation
from music.reward.functions import RewardFunction
from music_envs.best_of_n.rollout import Rollout
from music_envs.best_of_n.selection import select_best
from music_envs.best_of_n.stage import BestOfNConfig, Stage

__all__ = ["Greedy"]


class Greedy(BaseModel):
    """Keep the best of N replies at every turn; all conversations' candidates are scored in one call per turn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def max_calls(self, config: BestOfNConfig) -> int:
        """N replies and a user's message at every turn."""
        return config.num_turns * (config.num_candidates + 1)

    async def __call__(self, seeds: Sequence[Conversation], stage: Stage, reward: RewardFunction) -> list[Rollout]:
        """Grow a conversation from each seed."""
        rollouts = stage.begin(seeds)
        for turn in range(stage.config.num_turns):
            offers = await asyncio.gather(*(stage.offer(rollout, turn) for rollout in rollouts))
            rollouts = await asyncio.to_thread(select_best, offers, reward)
        return rollouts
