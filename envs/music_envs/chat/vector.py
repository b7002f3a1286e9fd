"""`ChatVectorEnv`: many conversations that step at once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from gymnasium.error import AlreadyPendingCallError, NoAsyncCallError
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from music.aio import finish_all, run_in_background
from music.conversation import Conversation
from music_envs.chat.context import Fits
from music_envs.chat.env import ChatEnv
from music_envs.chat.episode import ChatSnapshot, Episode, transcript
from music_envs.chat.in_flight import InFlight, Rewarding, Step, take_step, with_rewards
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
    require_index,
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
Arrays = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]
Steps = tuple[Conversations, *Arrays, dict[str, Any]]
Received = tuple[NDArray[np.int64], Conversations, *Arrays, dict[str, Any]]


class ChatVectorEnv(VectorEnv[Conversations, Sequence[str], NDArray[Any]]):
    """Conversations with simulated users that all step at once; `gymnasium.make_vec("music/Chat-v0", ...)`.

    A step asks all users concurrently, on one event loop, and scores all conversations in one call. Observations and
    actions are tuples. The results equal those of `num_envs` separate `ChatEnv`, in all of Gymnasium's autoreset modes.
    A step that raises changes no conversation and no generator: a retry begins the same episodes.

    `send` and `recv` step some of the conversations: none waits for the user of another (as in EnvPool).

    Args:
        num_envs: Number of conversations.
        num_turns, user, reward, reward_mode, seeds, personas, is_done, fits: As for `ChatEnv`.
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
        fits: Fits | None = None,
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
            fits=fits,
        )
        self._generators = [seeding.np_random()[0] for _ in range(self.num_envs)]
        self._episodes: list[Episode | None] = [None] * self.num_envs
        self._flight = InFlight()

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
        self._flight.drop(chosen)
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
            AlreadyPendingCallError: An environment has a reply in flight; see `send`.
        """
        require_num(self.num_envs, "replies", actions)
        everyone = range(self.num_envs)
        self.send(dict(enumerate(actions)))
        try:
            self._flight.wait(self.num_envs, None)
            steps = self._finished(self._flight.results(everyone), self._world.reward)
        finally:
            self._flight.drop(everyone)
        return self._store(steps)

    def send(self, replies: Mapping[int, str]) -> None:
        """Reply in some conversations, and return while their users answer; `recv` returns the results.

        A reply to an episode that is over is ignored; the next episode begins, unless resets are yours. `reset`,
        `restore` and `close` cancel what is in flight in their environments.

        Args:
            replies: By environment. None of them may have a reply in flight.

        Raises:
            InvalidInputError: There is no such environment, or an action is not a reply. Nothing is sent then.
            ResetNeeded: An episode never began, or it is over and resets are yours.
            AlreadyPendingCallError: An environment has a reply in flight.
        """
        self._world.require_open()
        for i, reply in replies.items():
            require_index("an environment", i, self.num_envs)
            if i in self._flight:
                raise AlreadyPendingCallError(f"environment {i}: its last reply is in flight: call recv()", "send")
            if not self._begins_next(i):
                require_running(self._episodes[i], i)
                require_action(reply, i)
        is_same_step = self.autoreset_mode is AutoresetMode.SAME_STEP
        episodes = {int(i): cast(Episode, self._episodes[i]) for i in replies}
        self._flight.start(
            {
                i: take_step(self._world, episode, replies[i], self._generators[i], is_same_step)
                for i, episode in episodes.items()
            }
        )

    def recv(self, at_least: int = 1, timeout: float | None = None) -> Received:
        """Wait for replies in flight, and return the results of all whose users have answered, scored in one call.

        Each conversation gets the results that `step` gives it, except that an episode that cannot be scored ends with
        an error: the others do not wait for it.

        Args:
            at_least: Results to wait for; all that are in flight if these are fewer.
            timeout: Seconds to wait at most. Afterwards there may be fewer results, or none.

        Returns:
            The indices of the environments, in order, and what `step` returns, with one row per index.

        Raises:
            NoAsyncCallError: No reply is in flight.
            InvalidInputError: A score is not finite. All results are still there for the next `recv`.
            EndpointError, RoleFailedError: The user of a new episode gave no first message. Its environment is
                unchanged and not in flight any more; the other results are still there.
        """
        at_least = require_count("at_least", at_least)
        if not self._flight:
            raise NoAsyncCallError("no reply is in flight: call send() before recv()", "recv")
        ended = sorted(self._flight.wait(min(at_least, len(self._flight)), timeout))
        steps = self._finished(self._flight.results(ended), self._world.reward_each)
        self._flight.forget(ended)
        observations, rewards, terminations, truncations, infos = self._store(steps)
        rows, received = np.array(ended, dtype=np.int64), tuple(observations[i] for i in ended)
        return rows, received, rewards[rows], terminations[rows], truncations[rows], _rows(infos, rows)

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
        self._flight.drop(range(self.num_envs))
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
        self._flight.drop(range(self.num_envs))
        run_in_background(self._world.aclose())

    def _observations(self) -> Conversations:
        return tuple(episode.conversation if episode else Conversation() for episode in self._episodes)

    def _infos(self, chosen: Sequence[int], episodes: Sequence[Episode]) -> dict[str, Any]:
        """Return the infos of environments whose episodes begin or are restored."""
        infos: dict[str, Any] = {}
        for i, episode in zip(chosen, episodes, strict=True):
            infos = self._add_info(infos, episode.info, i)
        return infos

    def _begins_next(self, i: int) -> bool:
        """Return whether a step of an environment ignores its action and begins the next episode."""
        episode = self._episodes[i]
        return self.autoreset_mode is AutoresetMode.NEXT_STEP and episode is not None and bool(episode.stop_reason)

    def _finished(self, steps: Mapping[int, Step], reward: Rewarding) -> dict[int, Step]:
        """Return steps with their rewards, and with the next episodes of those that ended for lack of room."""
        steps = with_rewards(steps, reward)
        if self.autoreset_mode is not AutoresetMode.SAME_STEP:
            return steps
        late = [i for i, step in steps.items() if step.after and step.after.stop_reason and not step.begun]
        generators = [generator_for(None, self._generators[i]) for i in late]
        begun = run_in_background(finish_all(list(map(self._world.begin, generators))))
        next_steps = zip(late, begun, generators, strict=True)
        return steps | {i: replace(steps[i], begun=each, generator=generator) for i, each, generator in next_steps}

    def _store(self, steps: Mapping[int, Step]) -> Steps:
        """Store and return the results of steps; only now, so that a step that raises changes nothing."""
        rewards = np.zeros(self.num_envs)
        terminations, truncations = np.zeros((2, self.num_envs), dtype=np.bool_)
        infos: dict[str, Any] = {}
        for i, step in steps.items():
            info: dict[str, Any] = {}
            if step.after:
                self._episodes[i], info, rewards[i] = step.after, step.after.info, step.reward
                terminations[i], truncations[i] = step.after.is_terminated, step.after.is_truncated
            if step.begun and step.generator:
                if step.after:
                    infos = self._add_info(infos, {"final_obs": step.after.conversation, "final_info": info}, i)
                self._episodes[i], self._generators[i], info = step.begun, step.generator, step.begun.info
            infos = self._add_info(infos, info, i)
        return self._observations(), rewards, terminations, truncations, infos


def _rows(infos: Mapping[str, Any], rows: NDArray[np.int64]) -> dict[str, Any]:
    """Return the infos of some environments."""
    return {key: _rows(value, rows) if isinstance(value, dict) else value[rows] for key, value in infos.items()}
