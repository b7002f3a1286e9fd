"""`Beam`: a tree search over the turns, in which several partial conversations of each seed are gone on with."""

import asyncio
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from music.conversation import Conversation
from music.reward.functions import RewardFunction
from music_envs.best_of_n.rollout import Rollout
from music_envs.best_of_n.selection import keep_best, score_pools
from music_envs.best_of_n.stage import BestOfNConfig, Stage

__all__ = ["Beam"]


class Beam(BaseModel):
    """Keep the best `width` partial conversations of each seed; the assistant offers N replies to each.

    A conversation is immutable, so that every one is a snapshot to branch off from; each branch hears its own user.
    The reward compares conversations with different histories here. `width` 1 is `Greedy`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(default=2, ge=1)
    """B: partial conversations kept of each seed; those that are equal count once."""

    def max_calls(self, config: BestOfNConfig) -> int:
        """What `Greedy` takes for the first turn, and `width` times that for each further one."""
        return (1 + self.width * (config.num_turns - 1)) * (config.num_candidates + 1)

    async def __call__(self, seeds: Sequence[Conversation], stage: Stage, reward: RewardFunction) -> list[Rollout]:
        """Grow a tree from each seed and return the best of its last conversations."""
        beams = [[rollout] for rollout in stage.begin(seeds)]
        for turn in range(stage.config.num_turns):
            pools = await asyncio.gather(*(_offers(stage, beam, turn) for beam in beams))
            scored = await asyncio.to_thread(score_pools, pools, reward)
            beams = [keep_best(pool, self.width) for pool in scored]
        return [beam[0] for beam in beams]


async def _offers(stage: Stage, beam: Sequence[Rollout], turn: int) -> list[Rollout]:
    """Return all candidates of one seed."""
    offers = await asyncio.gather(*(stage.offer(rollout, turn) for rollout in beam))
    return [candidate for offer in offers for candidate in offer]
