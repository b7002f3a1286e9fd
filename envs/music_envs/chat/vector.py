"""`ChatVectorEnv`: many conversations that step at once."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar, Unpack, cast

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from music.conversation import Conversation
from music.errors import InvalidInputError
from music_envs.background import run_in_background
from music_envs.chat.env import ChatEnv
from music_envs.chat.episode import Episode, Snapshot
from music_envs.chat.info import begin_info, require_reply, require_running, step_info, transcript
from music_envs.chat.world import ChatArguments, ChatWorld
from music_envs.spaces import ConversationSpace, ReplySpace

__all__ = ["ChatVectorEnv"]

T = TypeVar("T")
Conversations = tuple[Conversation, ...]
Steps = tuple[Conversations, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]


class ChatVectorEnv(VectorEnv[Conversations, Sequence[str], NDArray[Any]]):
    """Conversations with simulated users, all of which step at once; `gymnasium.make_vec("music/Chat-v0", ...)`.

    In a step the users of all conversations are asked concurrently, on one event loop, and all that is to be scored is
    scored in one call. Observations and actions are tuples. Otherwise it is step for step what as many `ChatEnv` are,
    in all of Gymnasium's autoreset modes. A step that raises leaves every conversation where it stood.

    Args:
        num_envs: How many.
        autoreset_mode: When an episode that is over is followed by the next: in the next step, whose action for it is
            ignored (the default), in the same one, or not at all.
        render_mode: None or `ansi`, transcripts.
        **arguments: As `ChatEnv` takes them.

    Raises:
        InvalidInputError: An argument is not what it should be.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **arguments: Unpack[ChatArguments],
    ) -> None:
        if num_envs < 1:
            raise InvalidInputError(f"expected num_envs of at least 1, got {num_envs}")
        self.num_envs = num_envs
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = ChatEnv.metadata | {"autoreset_mode": self.autoreset_mode}
        self.render_mode = render_mode
        self.single_observation_space, self.single_action_space = ConversationSpace(), ReplySpace()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._world = ChatWorld(**arguments)
        self._generators = [seeding.np_random()[0] for _ in range(num_envs)]
        self._episodes: list[Episode | None] = [None] * num_envs

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Conversations, dict[str, Any]]:
        """Start an episode in every environment.

        Args:
            seed: Environment `i` gets `seed + i`, or the seed at its place.
            options: As `ChatEnv.reset` takes them; with `reset_mask`, an array of booleans, only those environments
                are reset.

        Raises:
            InvalidInputError: Seeds or mask are not as many as the environments, or `seed_index` is none of a seed.
            EndpointError, RoleFailedError: A user gave no first message.
        """
        options = dict(options or {})
        chosen = self._masked(options.pop("reset_mask", None))
        for i, own in zip(chosen, self._seeds_of(seed, chosen), strict=True):
            if own is not None:
                self._generators[i] = seeding.np_random(own)[0]
            self._episodes[i] = None  # as with one environment, none runs after a reset that fails
        begun = run_in_background(_all([self._world.begin(self._generators[i], options) for i in chosen]))
        infos: dict[str, Any] = {}
        for i, episode in zip(chosen, begun, strict=True):
            self._episodes[i] = episode
            infos = self._add_info(infos, begin_info(episode), i)
        return self._observations(), infos

    def step(self, actions: Sequence[str]) -> Steps:
        """Reply in every conversation.

        Raises:
            InvalidInputError: An action is not a reply, or a score is not finite.
            ResetNeeded: An episode is over and resets are left to you, or never began.
            EndpointError, RoleFailedError: A user gave no first message in an episode that was to begin.
        """
        if isinstance(actions, str) or len(actions) != self.num_envs:  # a text is a sequence too, of characters
            came = "a single text" if isinstance(actions, str) else len(actions)
            raise InvalidInputError(f"expected {self.num_envs} replies, got {came}")
        fresh = self._over() if self.autoreset_mode is AutoresetMode.NEXT_STEP else []
        going = [i for i in range(self.num_envs) if i not in fresh]
        before = [require_running(self._episodes[i], i) for i in going]
        for i in going:
            require_reply(actions[i], i)
        replies = [self._world.reply(episode, actions[i]) for i, episode in zip(going, before, strict=True)]
        reached = run_in_background(_all([*replies, *self._beginnings(fresh)]))
        rewards, after = self._world.reward(before, reached[: len(going)])
        over = [i for i, episode in zip(going, after, strict=True) if episode.stop_reason is not None]
        again = over if self.autoreset_mode is AutoresetMode.SAME_STEP else []
        begun = [*reached[len(going) :], *run_in_background(_all(self._beginnings(again)))]
        steps = dict(zip(going, zip(after, rewards, strict=True), strict=True))
        return self._taken(steps, dict(zip([*fresh, *again], begun, strict=True)))

    def snapshot(self) -> tuple[Snapshot, ...]:
        """Return all that decides how the environments go on; see `ChatEnv.snapshot`."""
        states = [generator.bit_generator.state for generator in self._generators]
        return tuple(
            Snapshot(episode=episode, generator=state) for episode, state in zip(self._episodes, states, strict=True)
        )

    def restore(self, snapshots: Sequence[Snapshot]) -> Conversations:
        """Go back, or over, to snapshots, which may come from several moments; return the observations.

        Raises:
            InvalidInputError: They are not as many as the environments.
        """
        if len(snapshots) != self.num_envs:
            raise InvalidInputError(f"expected {self.num_envs} snapshots, got {len(snapshots)}")
        for generator, snapshot in zip(self._generators, snapshots, strict=True):
            generator.bit_generator.state = snapshot.generator
        self._episodes = [snapshot.episode for snapshot in snapshots]
        return self._observations()

    def render(self) -> tuple[str, ...] | None:
        """Return the transcripts in the `ansi` mode."""
        if self.render_mode != "ansi":
            return None
        return tuple(transcript(conversation) for conversation in self._observations())

    def close_extras(self) -> None:
        """Close the users' endpoint if the environment opened it."""
        run_in_background(self._world.aclose())

    def _masked(self, mask: Any) -> list[int]:
        """Return which environments a reset is for."""
        if mask is None:
            return list(range(self.num_envs))
        if np.shape(mask) != (self.num_envs,) or np.asarray(mask).dtype != np.bool_ or not np.any(mask):
            raise InvalidInputError(
                f"expected a reset_mask of {self.num_envs} booleans, one of them true, got {mask!r}"
            )
        return [int(i) for i in np.flatnonzero(mask)]

    def _seeds_of(self, seed: int | Sequence[int | None] | None, chosen: Sequence[int]) -> list[int | None]:
        """Return the seed of each chosen environment; None lets its generator go on."""
        if seed is None or isinstance(seed, int):
            return [None if seed is None else seed + i for i in chosen]
        if len(seed) != self.num_envs:
            raise InvalidInputError(f"expected {self.num_envs} seeds, got {len(seed)}")
        return [seed[i] for i in chosen]

    def _over(self) -> list[int]:
        return [i for i, episode in enumerate(self._episodes) if episode and episode.stop_reason is not None]

    def _beginnings(self, chosen: Sequence[int]) -> list[Coroutine[Any, Any, Episode]]:
        return [self._world.begin(self._generators[i], {}) for i in chosen]

    def _observations(self) -> Conversations:
        return tuple(episode.conversation if episode else Conversation() for episode in self._episodes)

    def _taken(self, steps: Mapping[int, tuple[Episode, float]], begun: Mapping[int, Episode]) -> Steps:
        """Take over what a step came to, for each environment a step, a beginning, or the one and then the other."""
        rewards = np.zeros(self.num_envs)
        terminations, truncations = np.zeros((2, self.num_envs), dtype=np.bool_)
        infos: dict[str, Any] = {}
        for i in range(self.num_envs):
            info: dict[str, Any] = {}
            if i in steps:
                episode, rewards[i] = steps[i]
                terminations[i], truncations[i] = episode.is_terminated, episode.is_truncated
                info = step_info(episode)
                self._episodes[i] = episode
            if i in begun:
                if i in steps:
                    infos = self._add_info(infos, {"final_obs": self._observations()[i], "final_info": info}, i)
                info = begin_info(begun[i])
                self._episodes[i] = begun[i]
            infos = self._add_info(infos, info, i)
        return self._observations(), rewards, terminations, truncations, infos


async def _all(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all at once; where some fail, the first error is raised once nothing is under way any more."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return cast(list[T], results)
