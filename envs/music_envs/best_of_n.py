"""Best-of-N over conversations: many candidates, one reward function that selects.

- `greedy_best_of_n` is the paper's: at every turn the assistant offers N replies, the best is kept, the user goes on.
- `sample_pools` and `select_best` work on whole conversations: from N finished ones per seed, the best is kept.

Every request's seed depends on the conversation, the turn and the candidate alone. Selectors that share a history
are therefore offered the same candidates and met by the same user (common random numbers), and the candidates for a
smaller N are the first of those for a larger one.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from music.conversation import Conversation, StopReason
from music.llm.chat import EndpointError
from music.reward.functions import RewardFunction
from music_agents.failures import RoleFailedError
from music_agents.roles import Role, RoleTurn, RoleView, derive_seed
from music_envs.players import Player, as_assistant, as_user, view
from music_envs.scoring import checked_scores

__all__ = ["BestOfNConfig", "Decision", "Rollout", "greedy_best_of_n", "sample_pools", "select_best"]


class BestOfNConfig(BaseModel):
    """How many candidates, how many turns, and from which seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_candidates: int = Field(default=4, ge=1)
    """N: replies per turn, or conversations per seed."""
    num_turns: int = Field(default=3, ge=1)
    """H: assistant replies per conversation, those of the seed not counted."""
    seed: int = 0
    """Makes all requests' seeds."""
    max_in_flight: int = Field(default=64, ge=1)
    """Bound on simultaneous requests."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One choice between candidates.

    Attributes:
        candidates: Conversations, one per candidate, in the order in which they were asked for.
        scores: The selector's score of each.
        chosen: Index of the best; the first of equals.
    """

    candidates: tuple[Conversation, ...]
    scores: tuple[float, ...]
    chosen: int

    @property
    def conversation(self) -> Conversation:
        """The candidate that was kept."""
        return self.candidates[self.chosen]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One conversation and how it came about.

    Attributes:
        index: Which of the seeds it grew from.
        conversation: As far as it got.
        decisions: The choices made, in order. A candidate that failed is missing there.
        stop_reason: Why it ended; None while it goes on.
        error: What went wrong, after the stop reason `error`.
    """

    index: int
    conversation: Conversation
    decisions: tuple[Decision, ...] = ()
    stop_reason: StopReason | None = None
    error: str = ""

    def failed(self, error: object) -> "Rollout":
        """Return the rollout ended by an error."""
        return replace(self, stop_reason=StopReason.ERROR, error=str(error))


async def greedy_best_of_n(
    seeds: Sequence[Conversation],
    *,
    assistant: Player,
    user: Player,
    reward: RewardFunction,
    config: BestOfNConfig,
    on_turn: Callable[[], None] = lambda: None,
) -> list[Rollout]:
    """Grow one conversation from each seed, keeping the best of N replies at every turn.

    The candidates of all conversations are scored in one call per turn. A conversation whose endpoint fails ends with
    an error and leaves the others be.

    Args:
        seeds: Where to start. Where a seed ends with the user, the assistant speaks first, else the user.
        assistant: Offers the candidates; sampling should leave room to choose (a temperature above 0).
        user: Goes on from the reply that was kept.
        reward: Selects.
        config: Sizes and seed.
        on_turn: Called whenever someone has spoken, for a progress display.

    Returns:
        One rollout per seed, in their order.

    Raises:
        InvalidInputError: The reward function gave scores that are no use.
    """
    stage = _Stage(assistant, user, config, on_turn)
    rollouts = [Rollout(index=index, conversation=seed) for index, seed in enumerate(seeds)]
    for turn in range(config.num_turns):
        rollouts = await asyncio.gather(*(stage.hear_user(rollout, turn) for rollout in rollouts))
        offers = await asyncio.gather(*(stage.offer(rollout, turn) for rollout in rollouts))
        rollouts = await asyncio.to_thread(select_best, offers, reward)
    return [_finished(rollout) for rollout in rollouts]


async def sample_pools(
    seeds: Sequence[Conversation], *, assistant: Player, user: Player, config: BestOfNConfig
) -> list[list[Rollout]]:
    """Grow N whole conversations from each seed, for any number of selectors to `select_best` from.

    Returns:
        Shape `[seeds][num_candidates]`; the user's seeds are shared within a pool, the assistant's are not.
    """
    stage = _Stage(assistant, user, config)
    places = [(index, seed, number) for index, seed in enumerate(seeds) for number in range(config.num_candidates)]
    grown = await asyncio.gather(*(stage.grow(Rollout(index=i, conversation=c), number) for i, c, number in places))
    return [grown[i : i + config.num_candidates] for i in range(0, len(grown), config.num_candidates)]


def select_best(pools: Sequence[Sequence[Rollout]], reward: RewardFunction) -> list[Rollout]:
    """Keep the best conversation of every pool, all scored in one call; those that failed do not stand for election.

    Returns:
        One rollout per pool, with the decision recorded; where a whole pool failed, its first failure.

    Raises:
        InvalidInputError: The reward function gave scores that are no use.
    """
    sound = [[r for r in pool if r.stop_reason is not StopReason.ERROR] for pool in pools]
    decisions = _decide([[r.conversation for r in pool] for pool in sound], reward)
    return [
        _kept(candidates[decision.chosen], decision) if decision else pool[0]
        for pool, candidates, decision in zip(pools, sound, decisions, strict=True)
    ]


class _Stage:
    """The players, and the bound on how many speak at once."""

    def __init__(
        self, assistant: Player, user: Player, config: BestOfNConfig, on_turn: Callable[[], None] = lambda: None
    ) -> None:
        self._assistant = as_assistant(assistant)
        self._user = as_user(user)
        self._config = config
        self._on_turn = on_turn
        self._slots = asyncio.Semaphore(config.max_in_flight)

    async def hear_user(self, rollout: Rollout, turn: int) -> Rollout:
        """Let the user go on if it is the user's turn."""
        if rollout.stop_reason is not None or rollout.conversation.next_role != "user":
            return rollout
        seen = self._view(rollout, "user", turn, self._config.seed)
        said = await self._speak(self._user, seen)
        if not isinstance(said, RoleTurn):
            return rollout.failed(said)
        return replace(rollout, conversation=rollout.conversation.user(said.text))

    async def reply(self, rollout: Rollout, turn: int, number: int) -> Rollout:
        """Add the assistant's candidate of this number."""
        seen = self._view(rollout, "assistant", turn, derive_seed(self._config.seed, "candidate", number))
        said = await self._speak(self._assistant, seen)
        if not isinstance(said, RoleTurn):
            return rollout.failed(said)
        return replace(rollout, conversation=rollout.conversation.assistant(said.text))

    async def offer(self, rollout: Rollout, turn: int) -> list[Rollout]:
        """Return the rollout continued by each of N candidates; itself once it has ended."""
        if rollout.stop_reason is not None:
            return [rollout]
        return await asyncio.gather(*(self.reply(rollout, turn, n) for n in range(self._config.num_candidates)))

    async def grow(self, rollout: Rollout, number: int) -> Rollout:
        """Run all turns with the candidates of one number."""
        for turn in range(self._config.num_turns):
            rollout = await self.hear_user(rollout, turn)
            if rollout.stop_reason is None:
                rollout = await self.reply(rollout, turn, number)
        return _finished(rollout)

    def _view(self, rollout: Rollout, part: Literal["user", "assistant"], turn: int, seed: int) -> RoleView:
        """Return what a player may know."""
        num_turns = self._config.num_turns
        return view(rollout.conversation, part, turn=turn, num_turns=num_turns, index=rollout.index, seed=seed)

    async def _speak(self, role: Role, seen: RoleView) -> RoleTurn | EndpointError | RoleFailedError:
        """Return what a role says, or why it says nothing."""
        async with self._slots:
            try:
                return await role(seen)
            except (EndpointError, RoleFailedError) as error:
                return error
            finally:
                self._on_turn()


def _decide(pools: Sequence[Sequence[Conversation]], reward: RewardFunction) -> list[Decision | None]:
    """Score all pools in one call, and decide each; None for an empty pool."""
    flat = [conversation for pool in pools for conversation in pool]
    scores = iter(checked_scores(reward, flat) if flat else [])
    return [_decision(pool, tuple(next(scores) for _ in pool)) for pool in pools]


def _decision(pool: Sequence[Conversation], scores: tuple[float, ...]) -> Decision | None:
    """Take the highest score, the first of equals."""
    return Decision(tuple(pool), scores, scores.index(max(scores))) if pool else None


def _kept(rollout: Rollout, decision: Decision) -> Rollout:
    """Record the decision that kept a rollout."""
    return replace(rollout, decisions=(*rollout.decisions, decision))


def _finished(rollout: Rollout) -> Rollout:
    """Return a rollout that ran all its turns as such."""
    return rollout if rollout.stop_reason else replace(rollout, stop_reason=StopReason.TURN_LIMIT)
