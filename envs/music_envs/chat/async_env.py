"""`AsyncChatEnv`: `ChatEnv` for asynchronous code."""

import asyncio
from typing import Any

from gymnasium.utils import seeding

from music.conversation import Conversation
from music_envs.chat.context import Fits
from music_envs.chat.episode import ChatSnapshot, Episode
from music_envs.chat.validation import (
    NO_CONTEXT,
    IsDone,
    PersonasLike,
    RewardLike,
    SeedsLike,
    UserLike,
    generator_for,
    refuses_unknown_arguments,
    require_action,
    require_begun,
    require_running,
)
from music_envs.chat.world import ChatWorld, RewardMode
from music_envs.spaces import ConversationSpace, ReplySpace

__all__ = ["AsyncChatEnv"]


class AsyncChatEnv:
    """`ChatEnv` with a `reset` and a `step` that you await.

    Args:
        num_turns, user, reward, reward_mode, seeds, personas, is_done, fits: As for `ChatEnv`.

    Raises:
        InvalidInputError: An argument has a wrong value.

    Example:
        >>> import asyncio
        >>> from music_envs import AsyncChatEnv
        >>> async def play() -> bool:
        ...     env = AsyncChatEnv(num_turns=1)
        ...     await env.reset(seed=0)
        ...     conversation, reward, terminated, truncated, info = await env.step("Try a walk.")
        ...     return terminated
        >>> asyncio.run(play())
        True
    """

    @refuses_unknown_arguments
    def __init__(
        self,
        *,
        num_turns: int = 3,
        user: UserLike = "sandbox",
        reward: RewardLike = "oracle",
        reward_mode: RewardMode = "terminal",
        seeds: SeedsLike = NO_CONTEXT,
        personas: PersonasLike = (),
        is_done: IsDone = None,
        fits: Fits | None = None,
    ) -> None:
        self.observation_space = ConversationSpace()
        self.action_space = ReplySpace()
        self._world = ChatWorld(
            num_turns=num_turns,
            user=user,
            reward=reward,
            reward_mode=reward_mode,
            seeds=seeds,
            personas=personas,
            is_done=is_done,
            fits=fits,
        )
        self._generator = seeding.np_random()[0]
        self._episode: Episode | None = None

    async def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Conversation, dict[str, Any]]:
        """Start an episode; see `ChatEnv.reset`."""
        seed_index, generator = self._world.seed_index_of(options), generator_for(seed, self._generator)
        self._episode = None
        self._episode = await self._world.begin(generator, seed_index)
        self._generator = generator
        return self._episode.conversation, self._episode.info

    async def step(self, action: str) -> tuple[Conversation, float, bool, bool, dict[str, Any]]:
        """Reply to the user; see `ChatEnv.step`. The reward function runs on a thread."""
        before = require_running(self._episode)
        require_action(action)
        after = await self._world.reply(before, action)
        (reward,), (after,) = await asyncio.to_thread(self._world.reward, [before], [after])
        self._episode = after
        return after.conversation, reward, after.is_terminated, after.is_truncated, after.info

    def snapshot(self) -> ChatSnapshot:
        """Return the state of the environment; see `ChatEnv.snapshot`."""
        return ChatSnapshot(episode=self._episode, generator=self._generator.bit_generator.state)

    def restore(self, snapshot: ChatSnapshot) -> tuple[Conversation, dict[str, Any]]:
        """Return to a snapshot; see `ChatEnv.restore`."""
        episode = require_begun(snapshot)
        self._generator.bit_generator.state = snapshot.generator
        self._episode = episode
        return episode.conversation, episode.info

    async def aclose(self) -> None:
        """Close the environment; see `ChatEnv.close`."""
        await self._world.aclose()
