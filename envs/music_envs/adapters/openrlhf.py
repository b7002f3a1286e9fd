"""OpenRLHF: a `reward_func` for single replies, an `AgentExecutor` for conversations of several turns.

Write the first into the file that `reward.remote_url` names, and the second into the one that `train.agent_func_path`
names. OpenRLHF passes rendered text. Every row's label must therefore hold the prompt's messages as JSON text, and the
text must be exactly those messages as the tokenizer's chat template renders them; anything else is refused.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from music.llm.chat import EndpointError
from music.reward.functions import RewardFunction
from music.reward.tokens.contract import UnscorableError
from music.reward.tokens.queries import plain_reply, read_rendered_prompt, replied, reply_of_query
from music.reward.tokens.rendered import RenderedTextParser
from music.seeding import derive_seed
from music_envs.adapters.template import TurnTemplate
from music_envs.chat.episode import Episode
from music_envs.chat.validation import require_running
from music_envs.chat.world import ChatWorld
from music_envs.scoring import scores_or_none

__all__ = ["ChatAgent", "agent_executor", "as_reward_func"]


def as_reward_func(
    reward: RewardFunction, tokenizer: PreTrainedTokenizerBase, *, floor: float
) -> Callable[..., dict[str, Any]]:
    """Return a reward as OpenRLHF's `reward_func`.

    Args:
        reward: Scores conversations.
        tokenizer: The policy's.
        floor: The reward of a reply that cannot be scored, for example a blank one, because OpenRLHF cannot leave it
            out. The log `unscorable` counts them.

    Raises:
        InvalidInputError: The tokenizer has no chat template, or text in it cannot be read back into messages.
    """
    parser = RenderedTextParser(tokenizer)

    def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str], **_: Any) -> dict[str, Any]:
        rows = zip(queries, prompts, labels, strict=True)
        conversations = [
            replied(read_rendered_prompt(parser, prompt, label), reply_of_query(tokenizer, query, prompt))
            for query, prompt, label in rows
        ]
        scores = scores_or_none(reward, conversations)
        rewards = torch.tensor([floor if score is None else score for score in scores])
        unscorable = torch.tensor([float(score is None) for score in scores])
        return {"rewards": rewards, "scores": rewards, "extra_logs": {"unscorable": unscorable}}

    return reward_func


def agent_executor(world: ChatWorld, tokenizer: PreTrainedTokenizerBase, *, floor: float, seed: int = 0) -> type:
    """Return the class that OpenRLHF imports as `AgentExecutor`; see `ChatAgent` for the arguments."""
    from openrlhf.utils.agent import AgentInstanceBase, MultiTurnAgentExecutor

    class AgentInstance(ChatAgent, AgentInstanceBase):  # type: ignore[misc]  # no types
        def __init__(self) -> None:
            super().__init__(world, tokenizer, floor=floor, seed=seed)

    class AgentExecutor(MultiTurnAgentExecutor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(AgentInstance)

    return AgentExecutor


class ChatAgent:
    """One conversation with a user, as an `AgentInstanceBase` of OpenRLHF.

    Args:
        world: The user and the reward, with the arguments of `ChatEnv`. OpenRLHF adds up the rewards of the steps.
        tokenizer: The policy's.
        floor: The reward of a reply that cannot be scored, which ends the conversation.
        seed: Seed of the users. Equal prompts meet the same persona with the same seed.
    """

    def __init__(self, world: ChatWorld, tokenizer: PreTrainedTokenizerBase, *, floor: float, seed: int = 0) -> None:
        self._world = world
        self._tokenizer = tokenizer
        self._template = TurnTemplate(tokenizer)
        self._parser = RenderedTextParser(tokenizer)
        self._floor = floor
        self._seed = seed
        self._episode: Episode | None = None

    async def reset(self, states: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Start from the prompt.

        Raises:
            InvalidInputError: The label does not hold the messages that the prompt was rendered from.
        """
        prompt = read_rendered_prompt(self._parser, states["observation"], states["label"])
        self._episode = self._world.take_up(prompt, derive_seed(self._seed, prompt))
        return {"observation": states["observation"]}

    async def step(self, states: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Add a reply and the user's answer, and reward it.

        Raises:
            EndpointError: The user failed, and OpenRLHF cannot leave the conversation out.
        """
        before = require_running(self._episode)
        reply = plain_reply(self._tokenizer, states["action_text"])
        if not reply:
            return self._end_unscorable()
        after = await self._world.reply(before, reply)
        if after.is_truncated:
            raise EndpointError(f"the user failed: {after.error}")
        try:
            (reward,), (after,) = await asyncio.to_thread(self._world.reward, [before], [after])
        except UnscorableError:
            return self._end_unscorable()
        self._episode = after
        answer = "" if after.is_terminated else after.conversation.messages[-1].content
        # Every reply is closed, except one that was cut off: it filled the context, so nothing follows it.
        return _step(reward, self._template.between(answer, closed=True) if answer else "", done=after.is_terminated)

    def _end_unscorable(self) -> dict[str, Any]:
        return _step(self._floor, "", done=True, unscorable=True)


def _step(reward: float, feedback: str, *, done: bool, unscorable: bool = False) -> dict[str, Any]:
    """Return the result of a step in OpenRLHF's format."""
    logs = {"unscorable": float(unscorable)}
    return {"rewards": torch.tensor(reward), "environment_feedback": feedback, "done": done, "extra_logs": logs}
