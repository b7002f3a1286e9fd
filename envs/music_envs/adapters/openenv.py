"""OpenEnv: `ChatEnvironment`, for OpenEnv's server: one conversation per session."""

from typing import Any
from uuid import uuid4

from gymnasium.utils import seeding
from openenv.core.env_server import Action, Environment, Observation, State
from pydantic import Field

from music.aio import run_in_background
from music_envs.chat.episode import Episode
from music_envs.chat.validation import generator_for, require_running
from music_envs.chat.world import ChatWorld

__all__ = ["ChatAction", "ChatEnvironment", "ChatObservation"]


class ChatAction(Action):  # type: ignore[misc]  # no types
    """The assistant's reply."""

    message: str = Field(description="What the assistant says.")


class ChatObservation(Observation):  # type: ignore[misc]
    """The conversation so far; `metadata` is the info of `ChatEnv`, and after a step `truncated`."""

    messages: list[dict[str, str]] = Field(description="All messages, each with `role` and `content`.")


class ChatEnvironment(Environment):  # type: ignore[misc]
    """A conversation with a user, as an `Environment` of OpenEnv.

    OpenEnv has no `truncated`, only `done`. `metadata["truncated"]` is true if an error cut the episode short (the user
    failed, or the reply was blank or cannot be scored). Its `reward` is then None, and `metadata["error"]` is the
    reason; do not learn from it.

    Args:
        world: The user and the reward, with the arguments of `ChatEnv`. All sessions share it; you close it.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, world: ChatWorld) -> None:
        super().__init__()
        self._world = world
        self._generator = seeding.np_random()[0]
        self._episode: Episode | None = None
        self._episode_id: str | None = None

    def reset(self, seed: int | None = None, episode_id: str | None = None, **options: Any) -> ChatObservation:
        """Start an episode.

        Args:
            seed: Fixes the draws and all of the user's sampling, as in `ChatEnv.reset`.
            episode_id: Your name for the episode, returned in `state`.
            **options: Those of `ChatEnv.reset`: `seed_index`, the index of the seed to start from.

        Raises:
            InvalidInputError: An option is unknown, or there is no such seed.
            EndpointError, RoleFailedError: The user gave no first message.
        """
        seed_index, generator = self._world.seed_index_of(options), generator_for(seed, self._generator)
        self._episode, self._episode_id = None, episode_id or str(uuid4())
        episode = run_in_background(self._world.begin(generator, seed_index))
        self._episode, self._generator = episode, generator
        return ChatObservation(messages=episode.conversation.to_messages(), metadata=episode.info)

    def step(self, action: ChatAction, timeout_s: float | None = None, **_: Any) -> ChatObservation:
        """Reply to the user; `timeout_s` is ignored, because OpenEnv's clients never send it.

        Raises:
            InvalidInputError: A score is not finite.
            ResetNeeded: No episode is running.
        """
        step = self._world.step(require_running(self._episode), action.message)
        return self._observe(*run_in_background(step))

    @property
    def state(self) -> State:
        """The episode's name and its number of steps."""
        return State(episode_id=self._episode_id, step_count=self._episode.turn if self._episode else 0)

    def _observe(self, after: Episode, reward: float | None) -> ChatObservation:
        """Store the episode after a step, and return its observation."""
        self._episode = after
        return ChatObservation(
            messages=after.conversation.to_messages(),
            reward=reward,
            done=after.stop_reason is not None,
            metadata=after.info | {"truncated": after.is_truncated},
        )
