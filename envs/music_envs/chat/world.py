"""`ChatWorld`: the user and the reward of a chat. Environments, one or many, synchronous or not, live in it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from gymnasium.error import ClosedEnvironmentError

from music.conversation import Conversation, StopReason
from music.errors import InvalidInputError
from music.llm.chat import ChatModel, EndpointError, RequestRejectedError
from music.llm.endpoints import load_model
from music.reward.functions import RewardFunction, load_reward
from music_agents.failures import RoleFailedError
from music_agents.personas import Persona
from music_agents.roles import Speaker
from music_envs.chat.arguments import read_personas, read_seeds, require_callable, require_count, seed_index_of
from music_envs.chat.episode import Episode
from music_envs.chat.rewarding import RewardMode, require_mode, reward_steps
from music_envs.players import as_user, view
from music_envs.scoring import load_growing_reward

__all__ = ["ChatWorld"]

MAX_OPENINGS = 3
NO_CONTEXT = (Conversation(),)


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
        user: str | ChatModel | Speaker = "sandbox",
        reward: str | RewardFunction = "oracle",
        reward_mode: RewardMode = "terminal",
        seeds: str | Path | Sequence[Conversation] = NO_CONTEXT,
        personas: str | Path | Sequence[Persona] = (),
        is_done: Callable[[Conversation], bool] | None = None,
    ) -> None:
        self._num_turns = require_count("num_turns", num_turns)
        require_mode(reward_mode)
        self._seeds = read_seeds(seeds)
        self._personas = read_personas(personas)
        if is_done is not None:
            require_callable("is_done", is_done, "a callable from a conversation to whether it ends there, or None")
        self._is_done = is_done
        open_ = load_reward if reward_mode == "terminal" else load_growing_reward
        self._reward = open_(reward) if isinstance(reward, str) else reward
        require_callable("reward", self._reward, "a name or a callable from conversations to scores")
        self._close_reward = getattr(self._reward, "close", None) if isinstance(reward, str) else None
        self.reward_mode: RewardMode = reward_mode
        player = load_model(user) if isinstance(user, str) else user
        self._own_model = cast(ChatModel, player) if isinstance(user, str) else None
        self._is_closed = False
        self._user = as_user(player)
        require_callable("user", self._user, "an endpoint as text, a chat model or a role")
        self._user_name = str(getattr(player, "name", type(player).__name__))

    async def begin(self, generator: np.random.Generator, seed_index: int | None = None) -> Episode:
        """Draw an episode, and let the user open it where its seed does not end with the user already.

        An opening that fails is tried again, a few times: as it was drawn where the endpoint may come back, so that
        an outage does not change which episode begins, and drawn anew where it would fail again.

        Args:
            generator: Draws the seed context, the seed of the user's sampling and the persona.
            seed_index: In place of the first draw.

        Raises:
            ClosedEnvironmentError: The world is closed.
            EndpointError, RoleFailedError: The user gave no first message.
        """
        self._require_open()
        episode = self._draw(generator, seed_index)
        for attempt in range(1, MAX_OPENINGS + 1):
            try:
                return await self._hear_user(episode) if episode.conversation.next_role == "user" else episode
            except (EndpointError, RoleFailedError) as error:
                if attempt == MAX_OPENINGS:
                    raise
                if isinstance(error, RoleFailedError | RequestRejectedError):
                    episode = self._draw(generator, seed_index)
        raise AssertionError("unreachable")

    def seed_index_of(self, options: Mapping[str, Any] | None) -> int | None:
        """Return the seed that a reset's options ask for, if they do.

        Raises:
            InvalidInputError: They ask for a seed that there is not, or for something else.
        """
        return seed_index_of(options or {}, len(self._seeds))

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
        """Give the assistant's reply and let the user go on; a user that fails ends the episode with an error.

        Raises:
            ClosedEnvironmentError: The world is closed.
        """
        self._require_open()
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
        """Close the world, and the endpoints that were opened here; closing again is fine."""
        self._is_closed = True
        if self._close_reward is not None:
            await asyncio.to_thread(self._close_reward)  # it waits for the background loop, which may be this one
        if self._own_model is not None:
            await self._own_model.aclose()
            self._own_model = None

    def _require_open(self) -> None:
        if self._is_closed:
            raise ClosedEnvironmentError("the environment is closed: make another one")

    def _draw(self, generator: np.random.Generator, seed_index: int | None) -> Episode:
        index = int(generator.integers(len(self._seeds))) if seed_index is None else seed_index
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
