"""`ChatWorld`: the user and the reward of a chat. All chat environments and adapters use one."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast, get_args

import numpy as np
from gymnasium.error import ClosedEnvironmentError

from music.conversation import Conversation, StopReason
from music.errors import InvalidInputError
from music.llm.chat import ChatModel, EndpointError, RequestRejectedError
from music.llm.endpoints import load_model
from music.reward.functions import load_reward
from music.reward.tokens.contract import UnscorableError
from music_agents.failures import RoleFailedError
from music_agents.roles import RoleView
from music_envs.chat.context import Fits, fits_of, stop_where_full
from music_envs.chat.episode import Episode
from music_envs.chat.validation import (
    NO_CONTEXT,
    IsDone,
    PersonasLike,
    RewardLike,
    SeedsLike,
    UserLike,
    read_persona_argument,
    read_seed_argument,
    read_seed_index,
    refuses_unknown_arguments,
    require_action,
    require_callable,
    require_count,
)
from music_envs.players import as_user
from music_envs.scoring import checked_scores, load_growing_reward

__all__ = ["ChatWorld", "RewardMode"]

MAX_OPENINGS = 3

RewardMode = Literal["terminal", "per_turn", "difference"]
"""`terminal`: the score of the whole conversation, at its end (the paper's). `per_turn`: after every reply, the score
of the conversation so far. `difference`: after every reply, what it added to that score, which is 0 before the first
one. The rewards of an episode then add up to the terminal one (potential-based rewards, Ng et al. 1999)."""


class ChatWorld:
    """Begins episodes, answers replies and rewards them. It stores no episode.

    `play_episodes` and the adapters to RL libraries take a world.

    Args:
        num_turns, user, reward, reward_mode, seeds, personas, is_done, fits: As for `ChatEnv`.

    Raises:
        TypeError: There is no such argument; the error names the nearest one.
        InvalidInputError: An argument has a wrong value.

    Example:
        >>> from music_envs import ChatWorld, ModelPolicy, play_episodes
        >>> world = ChatWorld(num_turns=2, user="sandbox", reward="oracle")
        >>> played = play_episodes(world, ModelPolicy("sandbox:good"), seeds=range(3))
        >>> [each.episode.stop_reason.value for each in played]
        ['turn_limit', 'turn_limit', 'turn_limit']
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
        self._num_turns = require_count("num_turns", num_turns)
        if reward_mode not in get_args(RewardMode):
            modes = ", ".join(get_args(RewardMode))
            raise InvalidInputError(f"expected a reward mode of {modes}, got {reward_mode!r}")
        self.reward_mode: RewardMode = reward_mode
        self._seeds = read_seed_argument(seeds)
        self._personas = read_persona_argument(personas)
        if is_done is not None:
            require_callable("is_done", is_done, "a callable from a conversation to whether it ends there, or None")
        if fits is not None:
            require_callable("fits", fits, "a callable from conversations to whether each fits, or None")
        self._is_done, self._fits = is_done, fits
        load = load_reward if reward_mode == "terminal" else load_growing_reward
        self._reward = load(reward) if isinstance(reward, str) else reward
        require_callable("reward", self._reward, "a name or a callable from conversations to scores")
        self._close_reward = getattr(self._reward, "close", None) if isinstance(reward, str) else None
        player = load_model(user) if isinstance(user, str) else user
        self._own_model = cast(ChatModel, player) if isinstance(user, str) else None
        self._is_closed = False
        self._user = as_user(player)
        require_callable("user", self._user, "an endpoint as text, a chat model or a role")
        self._user_name = str(getattr(player, "name", type(player).__name__))

    @property
    def num_turns(self) -> int:
        """The most replies of an episode."""
        return self._num_turns

    async def begin(self, generator: np.random.Generator, seed_index: int | None = None) -> Episode:
        """Draw an episode, and let the user open it unless its seed already ends with the user.

        An opening that fails is tried up to three times. If the endpoint may recover, the same episode is tried again:
        an outage does not change which episode begins. Otherwise another one is drawn.

        Args:
            generator: Draws the seed context, the seed of the user's sampling and the persona.
            seed_index: Used instead of the first draw.

        Raises:
            ClosedEnvironmentError: The world is closed.
            EndpointError, RoleFailedError: The user gave no first message.
        """
        self.require_open()
        episode = self._draw(generator, seed_index)
        for attempt in range(1, MAX_OPENINGS + 1):
            try:
                return await self._ask_user(episode) if episode.conversation.next_role == "user" else episode
            except (EndpointError, RoleFailedError) as error:
                if attempt == MAX_OPENINGS:
                    raise
                usage = episode.usage + error.spent
                if isinstance(error, RoleFailedError | RequestRejectedError):
                    episode = self._draw(generator, seed_index)
                episode = replace(episode, usage=usage)
        raise AssertionError("unreachable")

    def seed_index_of(self, options: Mapping[str, Any] | None) -> int | None:
        """Return the `seed_index` of a reset's options; None without one.

        Raises:
            InvalidInputError: There is no such seed, or there are other options.
        """
        return read_seed_index(options or {}, len(self._seeds))

    def take_up(self, conversation: Conversation, seed: int) -> Episode:
        """Return an episode that starts from a conversation of your own data set.

        Args:
            conversation: It ends with the user.
            seed: Fixes the user's sampling and chooses the persona; it is also the episode's `seed_index`.

        Raises:
            InvalidInputError: The conversation does not end with the user.
        """
        if conversation.next_role != "assistant":
            raise InvalidInputError("expected a conversation that ends with the user, got one that does not")
        persona = self._personas[seed % len(self._personas)] if self._personas else None
        return Episode(conversation=conversation, seed_index=seed, seed=seed, user=self._user_name, persona=persona)

    async def reply(self, episode: Episode, action: str) -> Episode:
        """Add the assistant's reply and the user's answer. If the user fails, the episode ends with an error.

        Raises:
            ClosedEnvironmentError: The world is closed.
        """
        self.require_open()
        replied = replace(
            episode, conversation=episode.conversation.assistant(action), turn=episode.turn + 1, score=None
        )
        if replied.turn >= self._num_turns:
            return replace(replied, stop_reason=StopReason.TURN_LIMIT)
        try:
            answered = await self._ask_user(replied)
        except (EndpointError, RoleFailedError) as error:
            return replied.failed(error)
        is_done = self._is_done is not None and self._is_done(answered.conversation)
        return replace(answered, stop_reason=StopReason.USER_DONE) if is_done else answered

    def reward(self, before: Sequence[Episode], after: Sequence[Episode]) -> tuple[list[float], list[Episode]]:
        """Reward one step of each episode. All conversations that need a score are scored in one call.

        Before that, episodes end whose next reply would not fit into the context of the reward or of the policy. A step
        that an error cut short has the reward 0 in every mode.

        Args:
            before: The episodes before their step.
            after: The same episodes after it.

        Returns:
            The rewards, and the episodes with their scores and stop reasons.

        Raises:
            InvalidInputError: The reward function returned unusable scores.
        """
        for fits in (self._fits, fits_of(self._reward)):
            after = stop_where_full(after, fits)
        is_terminal, is_difference = self.reward_mode == "terminal", self.reward_mode == "difference"
        due = [i for i, each in enumerate(after) if each.is_terminated or not (each.is_truncated or is_terminal)]
        scores = checked_scores(self._reward, [after[i].judged for i in due]) if due else []
        rewards, scored = [0.0] * len(after), list(after)
        for i, score in zip(due, scores, strict=True):
            rewards[i] = score - (before[i].score or 0.0) if is_difference else score
            scored[i] = replace(after[i], score=score)
        return rewards, scored

    def reward_each(self, before: Sequence[Episode], after: Sequence[Episode]) -> tuple[list[float], list[Episode]]:
        """Reward as `reward` does, in one call if all can be scored; those that cannot end with an error."""
        try:
            return self.reward(before, after)
        except UnscorableError as error:
            if len(after) == 1:
                return [0.0], [after[0].failed(error)]
            single = [self.reward_each([was], [now]) for was, now in zip(before, after, strict=True)]
            return [rewards[0] for rewards, _ in single], [episodes[0] for _, episodes in single]

    async def step(self, before: Episode, action: str) -> tuple[Episode, float | None]:
        """Let the user answer one reply, and reward it.

        Args:
            before: An episode that is running.
            action: The assistant's reply.

        Returns:
            The episode after the step, and its reward. The reward is None if an error cut the episode short: the reply
            is blank or cannot be scored, or the user failed.

        Raises:
            InvalidInputError: The reward function returned unusable scores.
        """
        try:
            require_action(action)
        except InvalidInputError as error:
            return before.failed(error), None
        return await self.reward_one(before, await self.reply(before, action))

    async def reward_one(self, before: Episode, after: Episode) -> tuple[Episode, float | None]:
        """Reward a step of one episode without blocking the event loop; see `step` for the result."""
        (reward,), (after,) = await asyncio.to_thread(self.reward_each, [before], [after])
        return after, None if after.is_truncated else reward

    async def aclose(self) -> None:
        """Close the world and the endpoints that it opened; closing again does nothing."""
        self._is_closed = True
        if self._close_reward is not None:
            await asyncio.to_thread(self._close_reward)  # it waits for the background loop, which may be this one
        if self._own_model is not None:
            await self._own_model.aclose()
            self._own_model = None

    def require_open(self) -> None:
        """Require that the world is not closed.

        Raises:
            ClosedEnvironmentError: It is.
        """
        if self._is_closed:
            raise ClosedEnvironmentError("the environment is closed: make another one")

    def _draw(self, generator: np.random.Generator, seed_index: int | None) -> Episode:
        index = int(generator.integers(len(self._seeds))) if seed_index is None else seed_index
        seed = int(generator.integers(2**31))
        persona = self._personas[int(generator.integers(len(self._personas)))] if self._personas else None
        return Episode(
            conversation=self._seeds[index], seed_index=index, seed=seed, user=self._user_name, persona=persona
        )

    async def _ask_user(self, episode: Episode) -> Episode:
        view = RoleView(
            conversation=episode.conversation,
            side="chosen",
            part="user",
            turn=episode.turn,
            num_turns=self._num_turns,
            pair=episode.seed_index,
            run_seed=episode.seed,
            persona=episode.persona,
        )
        answer = await self._user(view)
        conversation = episode.conversation.user(answer.text)
        num_cut = episode.num_cut + answer.is_cut
        return replace(episode, conversation=conversation, usage=episode.usage + answer.usage, num_cut=num_cut)
