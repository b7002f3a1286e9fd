"""`CandidateSampler`: asks the two players of all conversations, a bounded number at a time.

The seed of a request depends only on the conversation, the turn and the candidate. Selectors that share a history
therefore get the same candidates and the same user (common random numbers), and the candidates for a smaller N are the
first of those for a larger one.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Literal

from music.conversation import Conversation
from music.llm.chat import EndpointError
from music.pairs import Usage
from music.seeding import derive_seed
from music_agents.failures import RoleFailedError
from music_agents.roles import RoleTurn, RoleView, Speaker
from music_envs.best_of_n.config import BestOfNConfig
from music_envs.best_of_n.rollout import Rollout
from music_envs.players import Player, as_assistant, as_user

__all__ = ["CandidateSampler"]


class CandidateSampler:
    """Asks the players. A player that fails ends its rollout with an error; the others are not affected.

    Attributes:
        config: Sizes and seed.
    """

    def __init__(
        self, assistant: Player, user: Player, config: BestOfNConfig, on_call: Callable[[], None] = lambda: None
    ) -> None:
        self.config = config
        self._assistant = as_assistant(assistant)
        self._user = as_user(user)
        self._on_call = on_call
        self._in_flight = asyncio.Semaphore(config.max_in_flight)

    def begin(self, seeds: Sequence[Conversation]) -> list[Rollout]:
        """Return an empty rollout for each seed."""
        return [Rollout(index=index, conversation=seed) for index, seed in enumerate(seeds)]

    async def ask_user(self, rollout: Rollout, turn: int) -> Rollout:
        """Add the user's message if it is the user's turn."""
        if rollout.stop_reason is not None or rollout.conversation.next_role != "user":
            return rollout
        answer = await self._ask(self._user, self._view(rollout, "user", turn, self.config.seed))
        if not isinstance(answer, RoleTurn):
            return rollout.failed(answer)
        return rollout.spoken(rollout.conversation.user(answer.text), answer)

    async def sample(self, rollout: Rollout, turn: int, numbers: Iterable[int]) -> list[Rollout]:
        """Return the rollout continued by each of the numbered candidates, or only itself if it has ended.

        Earlier usage is counted in candidate 0.
        """
        if rollout.stop_reason is not None:
            return [rollout]
        unused = replace(rollout, usage=Usage(), num_cut=0)
        return await asyncio.gather(*(self._reply(unused if n else rollout, turn, n) for n in numbers))

    async def sample_all(self, rollout: Rollout, turn: int) -> list[Rollout]:
        """Return the rollout continued by the user, if it is the user's turn, and by each of N candidates."""
        asked = await self.ask_user(rollout, turn)
        return await self.sample(asked, turn, range(self.config.num_candidates))

    async def grow(self, rollout: Rollout, number: int) -> Rollout:
        """Play all turns with the same candidate number."""
        for turn in range(self.config.num_turns):
            rollout = await self.ask_user(rollout, turn)
            if rollout.stop_reason is None:
                rollout = await self._reply(rollout, turn, number)
        return rollout.finished()

    async def _reply(self, rollout: Rollout, turn: int, number: int) -> Rollout:
        """Add the assistant's candidate of this number."""
        seen = self._view(rollout, "assistant", turn, derive_seed(self.config.seed, "candidate", number))
        answer = await self._ask(self._assistant, seen)
        if not isinstance(answer, RoleTurn):
            return rollout.failed(answer)
        return rollout.spoken(rollout.conversation.assistant(answer.text), answer)

    def _view(self, rollout: Rollout, part: Literal["user", "assistant"], turn: int, seed: int) -> RoleView:
        """Return what a player may know."""
        return RoleView(
            conversation=rollout.conversation,
            side="chosen",
            part=part,
            turn=turn,
            num_turns=self.config.num_turns,
            pair=rollout.index,
            run_seed=seed,
        )

    async def _ask(self, role: Speaker, seen: RoleView) -> RoleTurn | EndpointError | RoleFailedError:
        """Return what a role says, or the error that prevented it."""
        async with self._in_flight:
            try:
                return await role(seen)
            except (EndpointError, RoleFailedError) as error:
                return error
            finally:
                self._on_call()
