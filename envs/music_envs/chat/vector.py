"""`ChatVectorEnv`: many conversations that step at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from music.aio import finish_all, run_in_background
from music.conversation import Conversation
from music_envs.chat.env import ChatEnv
from music_envs.chat.episode import ChatSnapshot, Episode, transcript
from music_envs.chat.validation import (
    NO_CONTEXT,
    IsDone,
    PersonasLike,
    RewardLike,
    SeedsLike,
    UserLike,
    autoreset_mode_of,
    generator_for,
    refuses_unknown_arguments,
    require_action,
    require_begun,
    require_count,
    require_num,
    require_render_mode,
    require_running,
    seeds_by_env,
    unmasked,
)
from music_envs.chat.world import ChatWorld, RewardMode
from music_envs.spaces import ConversationSpace, ReplySpace

__all__ = ["ChatVectorEnv"]

Conversations = tuple[Conversation, ...]
Steps = tuple[Conversations, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]


class ChatVectorEnv(VectorEnv[Conversations, Sequence[str], NDArray[Any]]):
    """Conversations with simulated users that all step at once; `gymnasium.make_vec("music/Chat-v0", ...)`.

    A step asks all users concurrently, on one event loop, and scores all conversations in one call. Observations and
    actions are tuples. The results equal those of `num_envs` separate `ChatEnv`, in all of Gymnasium's autoreset modes.
    A step that raises changes no conversation and no generator: a retry begins the same episodes.

    Args:
        num_envs: Number of conversations.
        num_turns, user, reward, reward_mode, seeds, personas, is_done: As for `ChatEnv`.
        autoreset_mode: When an episode that is over is reset: in the next step, which ignores its action (the default),
            in the same step, or never (you reset it).
        render_mode: None or `ansi` for transcripts.

    Raises:
        InvalidInputError: An argument has a wrong value.

    Example:
        >>> from music_envs import ChatVectorEnv
        >>> envs = ChatVectorEnv(4, num_turns=1)
        >>> conversations, infos = envs.reset(seed=0)
        >>> conversations, rewards, terminations, truncations, infos = envs.step(("Try a walk.",) * 4)
        >>> rewards.shape
        (4,)
        >>> envs.close()
    """

    @refuses_unknown_arguments
    def __init__(
        self,
        num_envs: int = 1,
        *,
        num_turns: int = 3,
        user: UserLike = "sandbox",
        reward: RewardLike = "oracle",
        reward_mode: RewardMode = "terminal",
        seeds: SeedsLike = NO_CONTEXT,
        personas: PersonasLike = (),
        is_done: IsDone = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
    ) -> None:
        self.num_envs = require_count("num_envs", num_envs)
        self.autoreset_mode = autoreset_mode_of(autoreset_mode)
        self.metadata = ChatEnv.metadata | {"autoreset_mode": self.autoreset_mode}
        self.render_mode = require_render_mode(render_mode)
        self.single_observation_space, self.single_action_space = ConversationSpace(), ReplySpace()
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._world = ChatWorld(
            num_turns=num_turns,
            user=user,
            reward=reward,
            reward_mode=reward_mode,
            seeds=seeds,
            personas=personas,
            is_done=is_done,
        )
        self._generators = [seeding.np_random()[0] for _ in range(self.num_envs)]
        self._episodes: list[Episode | None] = [None] * self.num_envs

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Conversations, dict[str, Any]]:
        """Start an episode in every environment.

        Args:
            seed: Environment `i` gets `seed + i`, or the seed at its place.
            options: As `ChatEnv.reset` takes them; with `reset_mask`, an array of booleans, only those environments
                are reset.

        Raises:
            InvalidInputError: There is not one seed or mask value per environment, or an option is unknown.
            EndpointError, RoleFailedError: A user gave no first message.
        """
        options = dict(options or {})
        chosen = unmasked(self.num_envs, options.pop("reset_mask", None))
        seed_index = self._world.seed_index_of(options)
        own_seeds = seeds_by_env(self.num_envs, seed, chosen)
        generators = {i: generator_for(own, self._generators[i]) for i, own in own_seeds.items()}
        for i in chosen:
            self._episodes[i] = None  # as with one environment, no episode runs after a reset that raises
        begun = run_in_background(finish_all([self._world.begin(generators[i], seed_index) for i in chosen]))
        for i, episode in zip(chosen, begun, strict=True):
            self._episodes[i], self._generators[i] = episode, generators[i]
        return self._observations(), self._infos(chosen, begun)

    def step(self, actions: Sequence[str]) -> Steps:
        """Reply in every conversation.

        Raises:
            InvalidInputError: An action is not a reply, or a score is not finite.
            ResetNeeded: An episode never began, or it is over and resets are yours.
            EndpointError, RoleFailedError: The user of a new episode gave no first message.
        """
        require_num(self.num_envs, "replies", actions)
        is_next_step = self.autoreset_mode is AutoresetMode.NEXT_STEP
        over = [i for i, each in enumerate(self._episodes) if is_next_step and each and each.stop_reason]
        running = [i for i in range(self.num_envs) if i not in over]
        before = [require_running(self._episodes[i], i) for i in running]
        for i in running:
            require_action(actions[i], i)
        replies = [self._world.reply(episode, actions[i]) for i, episode in zip(running, before, strict=True)]
        generators = {i: generator_for(None, self._generators[i]) for i in over}
        results = run_in_background(finish_all([*replies, *map(self._world.begin, generators.values())]))
        rewards, after = self._world.reward(before, results[: len(running)])
        begun = results[len(running) :]
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            ended = [i for i, episode in zip(running, after, strict=True) if episode.stop_reason]
            generators = {i: generator_for(None, self._generators[i]) for i in ended}
            begun = run_in_background(finish_all(list(map(self._world.begin, generators.values()))))
        for i, generator in generators.items():  # only now: a step that raises draws nothing
            self._generators[i] = generator
        steps = dict(zip(running, zip(after, rewards, strict=True), strict=True))
        return self._store(steps, dict(zip(generators, begun, strict=True)))

    def snapshot(self) -> tuple[ChatSnapshot, ...]:
        """Return the state of each environment; see `ChatEnv.snapshot`."""
        states = [generator.bit_generator.state for generator in self._generators]
        return tuple(
            ChatSnapshot(episode=episode, generator=state)
            for episode, state in zip(self._episodes, states, strict=True)
        )

    def restore(self, snapshots: Sequence[ChatSnapshot]) -> tuple[Conversations, dict[str, Any]]:
        """Return to snapshots, which may be from different times; see `ChatEnv.restore`.

        Returns:
            The observations and infos of that state.

        Raises:
            InvalidInputError: There is not one per environment, or one is no snapshot.
            ResetNeeded: One was taken before the first reset of its environment.
        """
        require_num(self.num_envs, "snapshots", snapshots)
        episodes = [require_begun(snapshot, i) for i, snapshot in enumerate(snapshots)]
        for generator, snapshot in zip(self._generators, snapshots, strict=True):
            generator.bit_generator.state = snapshot.generator
        self._episodes = list(episodes)
        return self._observations(), self._infos(range(self.num_envs), episodes)

    def render(self) -> tuple[str, ...] | None:
        """Return the transcripts in the `ansi` mode."""
        if self.render_mode != "ansi":
            return None
        return tuple(transcript(conversation) for conversation in self._observations())

    def close_extras(self) -> None:
        """Close the environments, and the users' endpoint if it was opened here; `close` calls this."""
        run_in_background(self._world.aclose())

    def _observations(self) -> Conversations:
        return tuple(episode.conversation if episode else Conversation() for episode in self._episodes)

    def _infos(self, chosen: Sequence[int], episodes: Sequence[Episode]) -> dict[str, Any]:
        """Return the infos of environments whose episodes begin or are restored."""
        infos: dict[str, Any] = {}
        for i, episode in zip(chosen, episodes, strict=True):
            infos = self._add_info(infos, episode.info, i)
        return infos

    def _store(self, steps: Mapping[int, tuple[Episode, float]], begun: Mapping[int, Episode]) -> Steps:
        """Store and return the results of a step: each environment took a step, began an episode, or did both."""
        rewards = np.zeros(self.num_envs)
        terminations, truncations = np.zeros((2, self.num_envs), dtype=np.bool_)
        infos: dict[str, Any] = {}
        for i in range(self.num_envs):
            info: dict[str, Any] = {}
            if i in steps:
                episode, rewards[i] = steps[i]
                terminations[i], truncations[i] = episode.is_terminated, episode.is_truncated
                info = episode.info
                self._episodes[i] = episode
            if i in begun:
                if i in steps:
                    infos = self._add_info(infos, {"final_obs": self._observations()[i], "final_info": info}, i)
                info = begun[i].info
                self._episodes[i] = begun[i]
            infos = self._add_info(infos, info, i)
        return self._observations(), rewards, terminations, truncations, infos
