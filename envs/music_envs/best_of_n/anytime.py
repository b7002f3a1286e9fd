"""`Anytime`: Best-of-N that draws no more candidates than it takes to be sure, or than there are tokens for."""

import asyncio
from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.functions import RewardFunction
from music_envs.best_of_n.rollout import Rollout
from music_envs.best_of_n.selection import Candidate, keep_best, score_pools, spent
from music_envs.best_of_n.stage import BestOfNConfig, Stage

__all__ = ["Anytime"]


class Anytime(BaseModel):
    """Keep the best reply at every turn, as `Greedy` does, but draw candidates in rounds and stop early.

    A turn's drawing stops when the best reply leads by the margin, when the turn's tokens are spent, or after N
    replies; every turn draws at least one round. The undecided conversations' rounds are scored together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    margin: float | None = Field(default=None, gt=0)
    """Stop when the best is so far ahead of the best reply that differs, in units of the reward."""
    token_budget: int | None = Field(default=None, ge=1)
    """Bound on a conversation's tokens, prompts and the user's calls included, as the endpoints count them.

    Each turn has an equal share and what earlier ones left over; a round that was begun is finished.
    """
    round_size: int = Field(default=1, ge=1)
    """Candidates per round: a larger round waits for fewer calls in a row, a smaller one draws fewer in vain."""

    @model_validator(mode="after")
    def _stops_early(self) -> Self:
        if self.margin is None and self.token_budget is None:
            raise ValueError("anytime: expected a margin, a bound on tokens, or both, got neither")
        return self

    def max_calls(self, config: BestOfNConfig) -> int:
        """As many as `Greedy` takes."""
        return config.num_turns * (config.num_candidates + 1)

    async def __call__(self, seeds: Sequence[Conversation], stage: Stage, reward: RewardFunction) -> list[Rollout]:
        """Grow a conversation from each seed."""
        rollouts = stage.begin(seeds)
        for turn in range(stage.config.num_turns):
            heard = await asyncio.gather(*(stage.hear_user(rollout, turn) for rollout in rollouts))
            rollouts = await self._decide(heard, turn, stage, reward)
        return rollouts

    async def _decide(self, heard: Sequence[Rollout], turn: int, stage: Stage, reward: RewardFunction) -> list[Rollout]:
        """Draw rounds for every conversation until it is decided, and keep the best."""
        pools: list[list[Candidate]] = [[] for _ in heard]
        num = stage.config.num_candidates
        undecided = list(range(len(heard)))
        for start in range(0, num, self.round_size):
            numbers = range(start, min(start + self.round_size, num))
            drawn = await asyncio.gather(*(stage.replies(heard[i], turn, numbers) for i in undecided))
            scored = await asyncio.to_thread(score_pools, drawn, reward)
            for i, candidates in zip(undecided, scored, strict=True):
                pools[i] += candidates
            undecided = [i for i in undecided if not self._is_decided(pools[i], heard[i], turn, stage.config)]
        return [keep_best(pool, 1)[0] for pool in pools]

    def _is_decided(self, pool: Sequence[Candidate], heard: Rollout, turn: int, config: BestOfNConfig) -> bool:
        """Return whether a conversation needs no further candidate."""
        if heard.is_failed or (self.margin is not None and _lead(pool) >= self.margin):
            return True
        if self.token_budget is None:
            return False
        share = self.token_budget * (turn + 1) / config.num_turns
        return _counted_tokens(pool) >= share


def _lead(pool: Sequence[Candidate]) -> float:
    """Return how far the best is ahead of the best that differs; 0 without one."""
    scores = {candidate.rollout.conversation: candidate.score for candidate in pool if candidate.score is not None}
    best = sorted(scores.values(), reverse=True)
    return best[0] - best[1] if len(best) > 1 else 0.0


def _counted_tokens(pool: Sequence[Candidate]) -> int:
    """Return the tokens spent on a conversation.

    Raises:
        InvalidInputError: There were replies, and the endpoints counted no tokens.
    """
    num_tokens = spent(pool).num_tokens
    if not num_tokens and any(candidate.score is not None for candidate in pool):
        raise InvalidInputError(
            "anytime: expected endpoints that count tokens, as a bound on them is set, got replies without a count; "
            "set a margin in its place"
        )
    return num_tokens
