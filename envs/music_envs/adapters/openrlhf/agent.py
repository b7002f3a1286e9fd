"""`agent_executor`: conversations with a user, played by OpenRLHF's own loop."""

from copy import deepcopy
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from music.conversation import StopReason
from music.reward.tokens.queries import plain_reply, read_rendered_prompt
from music.reward.tokens.rendered import RenderedTextParser
from music.seeding import derive_seed
from music_envs.adapters.template import TurnTemplate
from music_envs.adapters.turns import Turn, take_turn
from music_envs.chat.episode import Episode
from music_envs.chat.validation import require_running
from music_envs.chat.world import ChatWorld

__all__ = ["agent_executor"]


def agent_executor(
    world: ChatWorld, tokenizer: PreTrainedTokenizerBase, *, floor: float, reply_room: int = 128, seed: int = 0
) -> type:
    """Return the class that OpenRLHF imports as `AgentExecutor`.

    A conversation is bounded by `--data.max_len`. Its reward is the sum of the rewards of its replies. OpenRLHF cannot
    leave a conversation out, so the logs report what happened to each:

    - `unscorable`: the last reply was blank, too long for the reward model, or it filled the context before it was
      closed. It got the floor.
    - `context_full`: the conversation ended because another reply would not have fitted.
    - `user_failed`: the conversation ended because the user failed. The last reply got its own reward.
    - `num_replies`, and `turn_reward_0` and so on: the rewards of the replies; 0 for those that were not given.

    Args:
        world: The user and the reward.
        tokenizer: The policy's.
        floor: The score of a conversation whose last reply cannot be scored.
        reply_room: The tokens that another reply needs. A conversation with fewer left ends.
        seed: Seed of the users. Equal prompts meet the same persona with the same seed.
    """
    from openrlhf.utils.agent import AgentExecutorBase, AgentInstanceBase, MultiTurnAgentExecutor

    class AgentExecutor(AgentExecutorBase):  # type: ignore[misc]  # no types
        async def execute(
            self,
            prompt: str,
            label: Any,
            sampling_params: Any,
            max_length: int,
            hf_tokenizer: Any,
            llm_engine: Any,
            images: Any = None,
        ) -> dict[str, Any]:
            watched = _WatchedEngine(llm_engine)

            class AgentInstance(_ChatAgent, AgentInstanceBase):  # type: ignore[misc]
                def __init__(self) -> None:
                    super().__init__(world, tokenizer, watched, floor=floor, reply_room=reply_room, seed=seed)

            # All samples of a prompt share these, and OpenRLHF's loop keeps each one's budget in them.
            own_params = deepcopy(sampling_params)
            plays = MultiTurnAgentExecutor(AgentInstance)
            done: dict[str, Any] = await plays.execute(
                prompt, label, own_params, max_length, hf_tokenizer, watched, images
            )
            return done

    return AgentExecutor


class _WatchedEngine:
    """OpenRLHF's engine, which remembers its last output: a step sees the text of a reply, but not why it ended."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.reply: Any = None

    async def generate(self, *args: Any, **kwargs: Any) -> Any:
        output = await self._engine.generate(*args, **kwargs)
        self.reply = output.outputs[0]
        return output


class _ChatAgent:
    """One conversation with a user, as an `AgentInstanceBase` of OpenRLHF."""

    def __init__(
        self,
        world: ChatWorld,
        tokenizer: PreTrainedTokenizerBase,
        engine: _WatchedEngine,
        *,
        floor: float,
        reply_room: int,
        seed: int,
    ) -> None:
        self._world = world
        self._tokenizer = tokenizer
        self._engine = engine
        self._template = TurnTemplate(tokenizer)
        self._parser = RenderedTextParser(tokenizer)
        self._floor = floor
        self._reply_room = reply_room
        self._seed = seed
        self._episode: Episode | None = None
        self._rewards: list[float] = []

    async def reset(self, states: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Start from the prompt.

        Raises:
            InvalidInputError: The label does not hold the messages that the prompt was rendered from.
        """
        prompt = read_rendered_prompt(self._parser, states["observation"], states["label"])
        self._episode = self._world.take_up(prompt, derive_seed(self._seed, prompt))
        return {"observation": states["observation"]}

    async def step(self, states: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Add a reply and the user's answer, and reward it."""
        reply = self._engine.reply
        num_left = states["sampling_params"].max_tokens - len(reply.token_ids)
        closed = bool(reply.token_ids) and reply.token_ids[-1] == self._template.closing_id

        def after_reply(answer: str) -> str:
            return self._template.between(answer, closed=closed)

        turn = await take_turn(
            self._world,
            require_running(self._episode),
            plain_reply(self._tokenizer, states["action_text"]),
            floor=self._floor,
            is_cut=reply.finish_reason == "length",
            fits=lambda answer: len(self._template.encode(after_reply(answer))) + self._reply_room <= num_left,
        )
        self._episode = turn.episode
        self._rewards.append(turn.reward)
        return {
            "rewards": torch.tensor(turn.reward),
            "environment_feedback": "" if turn.answer is None else after_reply(turn.answer),
            "done": turn.answer is None,
            "extra_logs": self._logs(turn),
        }

    def _logs(self, last: Turn) -> dict[str, float]:
        """Return what OpenRLHF logs of a conversation; every conversation needs the same keys."""
        unplayed = [0.0] * (self._world.num_turns - len(self._rewards))
        return {
            "unscorable": float(last.is_unscorable),
            "context_full": float(last.episode.stop_reason is StopReason.CONTEXT_FULL),
            "user_failed": float(last.episode.is_truncated and not last.is_unscorable),
            "num_replies": float(len(self._rewards)),
        } | {f"turn_reward_{turn}": reward for turn, reward in enumerate(self._rewards + unplayed)}
