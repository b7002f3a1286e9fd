"""verifiers: `UserSimulationEnv`, a `MultiTurnEnv`: its `env_response` is the world's user, its rubric the reward.

It needs verifiers before 0.4, which removed these classic environments.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

import verifiers as vf
from datasets import Dataset

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.tokens.contract import UnscorableError
from music.reward.tokens.queries import as_prompt, reply_text
from music.seeding import derive_seed
from music_envs.chat.episode import Episode
from music_envs.chat.validation import require_action
from music_envs.chat.world import ChatWorld

__all__ = ["ChatRubric", "UserSimulationEnv"]

EPISODES = "episodes"


class UserSimulationEnv(vf.MultiTurnEnv):  # type: ignore[misc]  # no types
    """Conversations in which a user answers every reply, rewarded by the world.

    If the user fails or a reply is blank, `state["error"]` is set, as verifiers does for unusable rollouts. The reward
    is then 0; do not learn from it.

    Args:
        world: The user and the reward, with the arguments of `ChatEnv`; you close it.
        prompts: Conversations to start from; each ends with the user.
        seed: Seed of the users. Rollouts of one example meet the same persona with the same seed.
    """

    def __init__(self, world: ChatWorld, prompts: Sequence[Conversation], *, seed: int = 0) -> None:
        self._world = world
        self._seed = seed
        rows = [{"prompt": prompt.to_messages()} for prompt in prompts]
        super().__init__(dataset=Dataset.from_list(rows), rubric=ChatRubric(world))

    async def setup_state(self, state: vf.State) -> vf.State:
        """Start from the prompt."""
        seed = derive_seed(self._seed, state["example_id"])
        state[EPISODES] = [self._world.take_up(as_prompt(state["prompt"]), seed)]
        return state

    async def env_response(self, messages: vf.Messages, state: vf.State, **_: Any) -> vf.Messages:
        """Return the user's answer to the last reply; nothing once the conversation is over.

        Raises:
            InvalidModelResponseError: The reply is blank or too long.
            InfraError: The user failed.
        """
        reply = reply_text(cast(Mapping[str, Any], messages[-1])["content"]).strip()
        try:
            require_action(reply)
        except InvalidInputError as error:
            raise vf.InvalidModelResponseError(str(error)) from error
        after = await self._world.reply(state[EPISODES][-1], reply)
        if after.is_truncated:
            raise vf.InfraError(f"the user failed: {after.error}")
        state[EPISODES].append(after)
        last = after.conversation.messages[-1]
        answer: vf.Messages = [{"role": "user", "content": last.content}] if last.role == "user" else []
        if after.is_terminated:
            state["final_env_response"] = answer
        return answer


class ChatRubric(vf.Rubric):  # type: ignore[misc]
    """The sum of the world's rewards of all steps; every step of the trajectory has its own reward too.

    A reward function that raises ends the run. verifiers' own reward functions would log the error and count it as 0.
    """

    def __init__(self, world: ChatWorld) -> None:
        super().__init__(funcs=[episode_reward])
        self._world = world

    async def score_rollout(self, state: vf.State) -> None:
        """Score one rollout."""
        await asyncio.to_thread(self._reward, [state])
        await super().score_rollout(state)

    async def score_group(self, states: list[vf.State]) -> None:
        """Score rollouts; each call scores one turn of all of them."""
        await asyncio.to_thread(self._reward, states)
        await super().score_group(states)

    def _reward(self, states: list[vf.State]) -> None:
        """Reward turn by turn, because a turn's reward may need the previous score."""
        for turn in range(max(len(state[EPISODES]) for state in states) - 1):
            due = [state for state in states if turn + 1 < len(state[EPISODES]) and state["error"] is None]
            try:
                self._reward_turn(due, turn)
            except UnscorableError:
                for state in due:
                    try:
                        self._reward_turn([state], turn)
                    except UnscorableError as error:
                        state["error"] = vf.InvalidModelResponseError(str(error))

    def _reward_turn(self, states: Sequence[vf.State], turn: int) -> None:
        before: list[Episode] = [state[EPISODES][turn] for state in states]
        rewards, after = self._world.reward(before, [state[EPISODES][turn + 1] for state in states])
        for state, reward, episode in zip(states, rewards, after, strict=True):
            state[EPISODES][turn + 1] = episode
            state["trajectory"][turn]["reward"] = reward


def episode_reward(state: vf.State) -> float:
    """Return the sum of a rollout's rewards."""
    return 0.0 if state["error"] is not None else sum(step["reward"] for step in state["trajectory"])
