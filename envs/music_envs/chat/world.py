"""`ChatWorld`: the user and the reward of a chat. Environments, one or many, synchronous or not, live in it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np

from music.conversation import Conversation, StopReason
from music.errors import InvalidInputError
from music.llm.chat import ChatModel, EndpointError
from music.llm.endpoints import open_model
from music.reward.functions import RewardFunction, open_reward
from music_agents.failures import RoleFailedError
from music_agents.personas import Persona
from music_agents.personas.sources import read_persona_file
from music_agents.roles import Role
from music_envs.chat.episode import Episode
from music_envs.chat.rewarding import RewardMode, require_mode, reward_steps
from music_envs.players import as_user, view
from music_envs.seeds import open_seeds

__all__ = ["ChatArguments", "ChatWorld"]

MAX_OPENINGS = 3


class ChatArguments(TypedDict, total=False):
    """What an environment takes besides; what each means and its default, `ChatEnv` tells."""

    num_turns: int
    user: str | ChatModel | Role
    reward: str | RewardFunction
    reward_mode: RewardMode
    seeds: str | Sequence[Conversation]
    personas: str | Path | Sequence[Persona]
    is_done: Callable[[Conversation], bool] | None


class ChatWorld:
    """Begins episodes, answers replies, and rewards them; it keeps no episode itself.

    Args:
        See `ChatEnv`.

    Raises:
        InvalidInputError: An argument is not what it should be.
    """

    def __init__(
        self,
        *,
        num_turns: int = 3,
        user: str | ChatModel | Role = "sandbox",
        reward: str | RewardFunction = "oracle",
        reward_mode: RewardMode = "terminal",
        seeds: str | Sequence[Conversation] = (Conversation(),),
        personas: str | Path | Sequence[Persona] = (),
        is_done: Callable[[Conversation], bool] | None = None,
    ) -> None:
        if num_turns < 1:
            raise InvalidInputError(f"expected num_turns of at least 1, got {num_turns}")
        require_mode(reward_mode)
        self._num_turns = num_turns
        self._seeds = open_seeds(seeds) if isinstance(seeds, str) else tuple(seeds)
        if not self._seeds:
            raise InvalidInputError("expected at least one seed conversation, got none")
        self._personas = read_persona_file(personas) if isinstance(personas, str | Path) else tuple(personas)
        self._is_done = is_done
        self._reward = open_reward(reward) if isinstance(reward, str) else reward
        self.reward_mode: RewardMode = reward_mode
        player = open_model(user) if isinstance(user, str) else user
        self._own_model = cast(ChatModel, player) if isinstance(user, str) else None
        self._user = as_user(player)
        self._user_name = str(getattr(player, "name", type(player).__name__))

    async def begin(self, generator: np.random.Generator, options: dict[str, Any]) -> Episode:
        """Draw an episode, and let the user open it where its seed does not end with the user already.

        An opening that fails is drawn anew, a few times.

        Args:
            generator: Draws the seed context and the seed of the user's sampling.
            options: `seed_index` in place of the first draw.

        Raises:
            InvalidInputError: `seed_index` is not the index of a seed.
            EndpointError, RoleFailedError: The user gave no first message.
        """
        for attempt in range(1, MAX_OPENINGS + 1):
            episode = self._draw(generator, options)
            try:
                return await self._hear_user(episode) if episode.conversation.next_role == "user" else episode
            except (EndpointError, RoleFailedError):
                if attempt == MAX_OPENINGS:
                    raise
        raise AssertionError("unreachable")

    def take_up(self, conversation: Conversation, seed: int) -> Episode:
        """Return an episode that goes on from a conversation of another's data set.

        Args:
            conversation: It ends with the user.
            seed: Makes the user's sampling and chooses the persona; it stands as the episode's `seed_index` too.

        Raises:
            InvalidInputError: The conversation does not end with the user.
        """
        if conversation.next_role != "assistant":
            raise InvalidInputError("expected a conversation that ends with the user, got one that does not")
        persona = self._personas[seed % len(self._personas)] if self._personas else None
        return Episode(conversation=conversation, seed_index=seed, seed=seed, user=self._user_name, persona=persona)

    async def reply(self, episode: Episode, action: str) -> Episode:
        """Give the assistant's reply and let the user go on; a user that fails ends the episode with an error."""
        said = replace(episode, conversation=episode.conversation.assistant(action), turn=episode.turn + 1, score=None)
        if said.turn >= self._num_turns:
            return replace(said, stop_reason=StopReason.TURN_LIMIT)
        try:
            heard = await self._hear_user(said)
        except (EndpointError, RoleFailedError) as error:
            return replace(said, stop_reason=StopReason.ERROR, error=str(error))
        is_done = self._is_done is not None and self._is_done(heard.conversation)
        return replace(heard, stop_reason=StopReason.USER_DONE) if is_done else heard

    def reward(self, before: Sequence[Episode], after: Sequence[Episode]) -> tuple[list[float], list[Episode]]:
        """Reward a step of each episode, in one call to the reward function; see `reward_steps`."""
        return reward_steps(self.reward_mode, self._reward, before, after)

    async def aclose(self) -> None:
        """Close the user's endpoint if it was opened here; closing again is fine."""
        if self._own_model is not None:
            await self._own_model.aclose()
            self._own_model = None

    def _draw(self, generator: np.random.Generator, options: dict[str, Any]) -> Episode:
        index = options["seed_index"] if "seed_index" in options else int(generator.integers(len(self._seeds)))
        if not isinstance(index, int) or not 0 <= index < len(self._seeds):
            raise InvalidInputError(f"expected a seed_index from 0 to {len(self._seeds) - 1}, got {index!r}")
        seed = int(generator.integers(2**31))
        persona = self._personas[int(generator.integers(len(self._personas)))] if self._personas else None
        return Episode(
            conversation=self._seeds[index], seed_index=index, seed=seed, user=self._user_name, persona=persona
        )

    async def _hear_user(self, episode: Episode) -> Episode:
        seen = view(
            episode.conversation,
            "user",
            turn=episode.turn,
            num_turns=self._num_turns,
            index=episode.seed_index,
            seed=episode.seed,
            persona=episode.persona,
        )
        said = await self._user(seen)
        return replace(episode, conversation=episode.conversation.user(said.text), usage=episode.usage + said.usage)
