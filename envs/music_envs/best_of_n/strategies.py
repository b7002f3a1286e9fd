"""Strategies of Best-of-N: `Greedy`, `Anytime`, `Beam`, `Whole`, or a `Strategy` of your own."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.functions import RewardFunction
from music_envs.best_of_n.config import BestOfNConfig, BestOfNMode
from music_envs.best_of_n.rollout import Rollout
from music_envs.best_of_n.sampler import CandidateSampler
from music_envs.best_of_n.selection import Candidate, keep_best, score_pools, select_best, total_usage

__all__ = ["Anytime", "Beam", "Greedy", "Strategy", "Whole", "grow_pools", "make_strategy"]


class Strategy(Protocol):
    """How candidates are drawn and kept: `Greedy`, `Anytime`, `Beam`, `Whole`, or one of your own."""

    def max_calls(self, config: BestOfNConfig) -> int:
        """Return an upper bound on the calls of the players for one conversation."""
        ...

    async def __call__(
        self, seeds: Sequence[Conversation], sampler: CandidateSampler, reward: RewardFunction, /
    ) -> list[Rollout]:
        """Return one rollout per seed, in their order.

        Call the reward on a thread, with the candidates of all conversations at once: a reward model then computes
        shared prefixes once.
        """
        ...


class Greedy(BaseModel):
    """Keep the best of N replies at every turn, as in the paper; all candidates of a turn are scored in one call."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def max_calls(self, config: BestOfNConfig) -> int:
        """Return the calls for N replies and a user message at every turn."""
        return config.num_turns * (config.num_candidates + 1)

    async def __call__(
        self, seeds: Sequence[Conversation], sampler: CandidateSampler, reward: RewardFunction
    ) -> list[Rollout]:
        """Grow a conversation from each seed."""
        rollouts = sampler.begin(seeds)
        for turn in range(sampler.config.num_turns):
            pools = await asyncio.gather(*(sampler.sample_all(rollout, turn) for rollout in rollouts))
            rollouts = await asyncio.to_thread(select_best, pools, reward)
        return rollouts


class Anytime(BaseModel):
    """Keep the best reply at every turn, as `Greedy` does, but draw candidates in rounds and stop early.

    A turn stops drawing when the best reply leads by the margin, when the turn's tokens are spent, or after N replies;
    every turn draws at least one round. The rounds of all undecided conversations are scored together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    margin: float | None = Field(default=None, gt=0)
    """Stop when the best is this far ahead of the best reply that differs, in units of the reward."""
    token_budget: int | None = Field(default=None, ge=1)
    """Bound on a conversation's tokens, including prompts and the user's calls, as the endpoints count them.

    Each turn has an equal share plus what earlier turns left over; a round that has begun is finished.
    """
    round_size: int = Field(default=1, ge=1)
    """Candidates per round: large rounds need fewer sequential calls, small ones draw fewer superfluous candidates."""

    @model_validator(mode="after")
    def _stops_early(self) -> Self:
        if self.margin is None and self.token_budget is None:
            raise ValueError("anytime: expected a margin, a token budget, or both, got neither")
        return self

    def max_calls(self, config: BestOfNConfig) -> int:
        """Return the same bound as `Greedy`."""
        return config.num_turns * (config.num_candidates + 1)

    async def __call__(
        self, seeds: Sequence[Conversation], sampler: CandidateSampler, reward: RewardFunction
    ) -> list[Rollout]:
        """Grow a conversation from each seed."""
        rollouts = sampler.begin(seeds)
        for turn in range(sampler.config.num_turns):
            asked = await asyncio.gather(*(sampler.ask_user(rollout, turn) for rollout in rollouts))
            rollouts = await self._decide(asked, turn, sampler, reward)
        return rollouts

    async def _decide(
        self, asked: Sequence[Rollout], turn: int, sampler: CandidateSampler, reward: RewardFunction
    ) -> list[Rollout]:
        """Draw rounds until every conversation is decided, and keep the best of each."""
        pools: list[list[Candidate]] = [[] for _ in asked]
        num = sampler.config.num_candidates
        undecided = list(range(len(asked)))
        for start in range(0, num, self.round_size):
            numbers = range(start, min(start + self.round_size, num))
            drawn = await asyncio.gather(*(sampler.sample(asked[i], turn, numbers) for i in undecided))
            scored = await asyncio.to_thread(score_pools, drawn, reward)
            for i, candidates in zip(undecided, scored, strict=True):
                pools[i] += candidates
            undecided = [i for i in undecided if not self._is_decided(pools[i], asked[i], turn, sampler.config)]
        return [keep_best(pool, 1)[0] for pool in pools]

    def _is_decided(self, pool: Sequence[Candidate], asked: Rollout, turn: int, config: BestOfNConfig) -> bool:
        """Return whether a conversation needs no further candidate."""
        if asked.is_failed or (self.margin is not None and _lead(pool) >= self.margin):
            return True
        if self.token_budget is None:
            return False
        num_tokens = total_usage(pool).num_tokens
        if not num_tokens and any(candidate.score is not None for candidate in pool):
            raise InvalidInputError(
                "anytime: expected endpoints that count tokens, because a token budget is set, got replies without a "
                "count; set a margin instead"
            )
        return num_tokens >= self.token_budget * (turn + 1) / config.num_turns


def _lead(pool: Sequence[Candidate]) -> float:
    """Return the lead of the best reply over the best one that differs; 0 without one."""
    scores = {candidate.rollout.conversation: candidate.score for candidate in pool if candidate.score is not None}
    best = sorted(scores.values(), reverse=True)
    return best[0] - best[1] if len(best) > 1 else 0.0


class Beam(BaseModel):
    """Keep the best `width` partial conversations of each seed, and N replies to each: a tree search over the turns.

    Every branch has a user of its own. The reward then compares conversations with different histories. `width` 1 is
    `Greedy`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(default=2, ge=1)
    """Partial conversations kept per seed; equal ones count once."""

    def max_calls(self, config: BestOfNConfig) -> int:
        """Return as many calls as `Greedy` makes for the first turn, and `width` times as many for each further one."""
        return (1 + self.width * (config.num_turns - 1)) * (config.num_candidates + 1)

    async def __call__(
        self, seeds: Sequence[Conversation], sampler: CandidateSampler, reward: RewardFunction
    ) -> list[Rollout]:
        """Grow a tree from each seed and return the best of its last conversations."""

        async def branch(beam: Sequence[Rollout], turn: int) -> list[Rollout]:
            grown = await asyncio.gather(*(sampler.sample_all(rollout, turn) for rollout in beam))
            return [candidate for candidates in grown for candidate in candidates]

        beams = [[rollout] for rollout in sampler.begin(seeds)]
        for turn in range(sampler.config.num_turns):
            pools = await asyncio.gather(*(branch(beam, turn) for beam in beams))
            scored = await asyncio.to_thread(score_pools, pools, reward)
            beams = [keep_best(pool, self.width) for pool in scored]
        return [beam[0] for beam in beams]


class Whole(BaseModel):
    """Keep the best of N whole conversations, all scored in one call at the end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def max_calls(self, config: BestOfNConfig) -> int:
        """Return the calls for a reply and a user message at every turn of N conversations."""
        return config.num_candidates * config.num_turns * 2

    async def __call__(
        self, seeds: Sequence[Conversation], sampler: CandidateSampler, reward: RewardFunction
    ) -> list[Rollout]:
        """Grow N conversations from each seed and keep one."""
        return await asyncio.to_thread(select_best, await grow_pools(seeds, sampler), reward)


async def grow_pools(seeds: Sequence[Conversation], sampler: CandidateSampler) -> list[list[Rollout]]:
    """Grow N whole conversations from each seed; shape `[seeds][num_candidates]`."""
    num = sampler.config.num_candidates
    places = [(rollout, number) for rollout in sampler.begin(seeds) for number in range(num)]
    grown = await asyncio.gather(*(sampler.grow(rollout, number) for rollout, number in places))
    return [grown[i : i + num] for i in range(0, len(grown), num)]


STRATEGIES: dict[BestOfNMode, type[Greedy] | type[Anytime] | type[Beam] | type[Whole]] = {
    BestOfNMode.GREEDY: Greedy,
    BestOfNMode.ANYTIME: Anytime,
    BestOfNMode.BEAM: Beam,
    BestOfNMode.WHOLE: Whole,
}


def make_strategy(mode: BestOfNMode, options: Mapping[str, float | None]) -> Strategy:
    """Return the strategy of a name.

    Args:
        mode: The name.
        options: By name; None for those that were not given.

    Raises:
        InvalidInputError: An option belongs to another mode.
        pydantic.ValidationError: An option's value is invalid.
    """
    given = {name: value for name, value in options.items() if value is not None}
    kind = STRATEGIES[mode]
    if foreign := given.keys() - kind.model_fields.keys():
        expected, got = (
            ", ".join(f"--{name.replace('_', '-')}" for name in sorted(names)) for names in (kind.model_fields, foreign)
        )
        raise InvalidInputError(f"mode {mode}: expected {expected or 'no flags of other modes'}, got {got}")
    return kind.model_validate(given)
