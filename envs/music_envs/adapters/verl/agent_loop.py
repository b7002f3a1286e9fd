"""`ChatAgentLoop`: conversations in which a user answers, as an agent loop of verl's trainer (`trainer.use_v1`)."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import uuid4

import torch
from omegaconf import OmegaConf
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopOutput
from verl.utils.profiler import simple_timer

from music.conversation import Conversation, StopReason
from music.errors import InvalidInputError
from music.reward.tokens.queries import as_prompt
from music.seeding import derive_seed
from music_envs.adapters.template import TurnTemplate
from music_envs.adapters.turns import Turn, take_turn
from music_envs.chat.episode import Episode
from music_envs.chat.world import ChatWorld

__all__ = ["ChatAgentLoop", "TurnRewardOutput"]

logger = logging.getLogger(__name__)


class TurnRewardOutput(AgentLoopOutput):  # type: ignore[misc]  # no types
    """A rollout whose rewards are on the last token of each reply; verl's own has one reward, on the last token."""

    def as_dict(self) -> dict[str, Any]:
        """Return the rollout as verl trains on it."""
        fields: dict[str, Any] = super().as_dict()
        scores = torch.zeros(len(self.response_ids))
        for position, reward in zip(self.extra_fields["turn_ends"], self.extra_fields["turn_rewards"], strict=True):
            scores[position] = reward
        return fields | {"rm_scores": scores}


class ChatAgentLoop(AgentLoopBase):  # type: ignore[misc]
    """Plays one conversation: the policy and the user take turns, and each reply is rewarded.

    The policy's tokens stay as they were sampled. The user's tokens are masked and have the log-probability 0. The
    conversations of a batch wait neither for each other nor for each other's users. A rollout has the `extra_fields`:

    - `turn_rewards`, and `turn_ends`, the position of each reply's last token in the response;
    - `messages`, the conversation, and `stop_reason`;
    - `reward_extra_info`, of which verl reports means: `unscorable`, `context_full` and `num_replies`.

    If the user fails, the rollout is left out, with a warning; the others of its group stay.

    Args:
        world: The user and the reward: the arguments of `ChatWorld`, or one. All loops of a process share it.
        floor: The score of a conversation whose last reply cannot be scored: it is blank, too long for the reward
            model, or it fills the response (`data.max_response_length`) before it is closed.
        reply_room: The tokens that another reply needs. A conversation with fewer left ends with `context_full`.
        seed: Seed of the users. The rollouts of a prompt meet the same persona with the same seed.
    """

    def __init__(
        self,
        *args: Any,
        world: ChatWorld | Mapping[str, Any],
        floor: float,
        reply_room: int = 128,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._world = world if isinstance(world, ChatWorld) else _shared_world(_as_json(world))
        self._floor = floor
        self._reply_room = reply_room
        self._seed = seed
        self._template = TurnTemplate(self.tokenizer, **self.apply_chat_template_kwargs)

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput | list[AgentLoopOutput]:
        """Play a conversation from a row's `raw_prompt`; without a rollout, return an empty list, as verl expects.

        Raises:
            InvalidInputError: The prompt cannot be read, or is longer than `data.max_prompt_length`.
        """
        prompt = as_prompt(list(row["raw_prompt"]))
        episode = self._world.take_up(prompt, derive_seed(self._seed, int(row.get("global_steps", 0)), prompt))
        rollout = _Rollout(prompt_ids=self._prompt_ids(prompt), request_id=uuid4().hex)
        while episode.stop_reason is None:
            num_left = self._num_left(rollout)
            if not await self._generate(rollout, sampling_params, num_left):
                return _left_out("the engine returned no tokens")
            turn = await self._take_turn(rollout, episode, num_left)
            if turn.episode.is_truncated and not turn.is_unscorable:
                return _left_out(f"the user failed: {turn.episode.error}")
            episode = turn.episode
        return rollout.output(episode)

    def _prompt_ids(self, prompt: Conversation) -> list[int]:
        ids: list[int] = self.continuous_token_builder.build_initial_tokens(prompt.to_messages())
        if len(ids) > self.rollout_config.prompt_length:
            raise InvalidInputError(
                f"expected a prompt of at most {self.rollout_config.prompt_length} tokens, got {len(ids)}: raise "
                "data.max_prompt_length, or set data.filter_overlong_prompts=True"
            )
        return ids

    def _num_left(self, rollout: "_Rollout") -> int:
        """Return how many tokens fit after the rollout's."""
        num_left = self.rollout_config.response_length - len(rollout.response_ids)
        if limit := self.rollout_config.max_model_len:
            num_left = min(num_left, limit - len(rollout.prompt_ids) - len(rollout.response_ids))
        return int(num_left)

    async def _generate(self, rollout: "_Rollout", sampling_params: dict[str, Any], num_left: int) -> bool:
        """Sample a reply; return whether there is one."""
        with simple_timer("generate_sequences", rollout.metrics):
            sampled = await self.server_manager.generate(
                request_id=rollout.request_id,
                prompt_ids=rollout.prompt_ids + rollout.response_ids,
                sampling_params=sampling_params | {"max_tokens": num_left},
            )
        rollout.add_reply(sampled, num_left)
        return bool(sampled.token_ids)

    async def _take_turn(self, rollout: "_Rollout", before: Episode, num_left: int) -> Turn:
        """Let the user answer the last reply, reward it, and append the answer."""
        reply = rollout.reply_ids
        closed = reply[-1] == self._template.closing_id
        num_left -= len(reply)

        def encoded(answer: str) -> list[int]:
            return self._template.encode(self._template.between(answer, closed=closed))

        with simple_timer("tool_calls", rollout.metrics):
            turn = await take_turn(
                self._world,
                before,
                str(self.tokenizer.decode(reply, skip_special_tokens=True)).strip(),
                floor=self._floor,
                is_cut=num_left == 0 and not closed and reply[-1] != self.tokenizer.eos_token_id,
                fits=lambda answer: len(encoded(answer)) + self._reply_room <= num_left,
            )
        rollout.turn_rewards.append(turn.reward)
        rollout.is_unscorable = turn.is_unscorable
        if turn.answer is not None:
            rollout.add_answer(encoded(turn.answer))
        return turn


@dataclass(slots=True, kw_only=True)
class _Rollout:
    """One conversation as it grows, in tokens."""

    prompt_ids: list[int]
    request_id: str
    response_ids: list[int] = field(default_factory=list)
    response_mask: list[int] = field(default_factory=list)
    logprobs: list[float] | None = None
    reply_ids: list[int] = field(default_factory=list)
    turn_ends: list[int] = field(default_factory=list)
    turn_rewards: list[float] = field(default_factory=list)
    is_unscorable: bool = False
    metrics: dict[str, float] = field(default_factory=dict)
    engine_fields: dict[str, Any] = field(default_factory=dict)

    def add_reply(self, sampled: Any, num_left: int) -> None:
        """Append a reply as it was sampled."""
        self.reply_ids = list(sampled.token_ids)[:num_left]
        if sampled.log_probs:
            self.logprobs = [*(self.logprobs or []), *sampled.log_probs[:num_left]]
        self.response_ids += self.reply_ids
        self.response_mask += [1] * len(self.reply_ids)
        self.turn_ends.append(len(self.response_ids) - 1)
        # The first reply's fields have the oldest weights' step, the last one's the newest.
        self.engine_fields = sampled.extra_fields | self.engine_fields
        if newest := sampled.extra_fields.get("max_global_steps"):
            self.engine_fields["max_global_steps"] = newest

    def add_answer(self, ids: Sequence[int]) -> None:
        """Append the user's tokens."""
        self.response_ids += ids
        self.response_mask += [0] * len(ids)
        if self.logprobs is not None:
            self.logprobs += [0.0] * len(ids)

    def output(self, episode: Episode) -> TurnRewardOutput:
        """Return the rollout in verl's format."""
        stop_reason = str(episode.stop_reason)
        reported = {
            "unscorable": float(self.is_unscorable),
            "context_full": float(episode.stop_reason is StopReason.CONTEXT_FULL),
            "num_replies": float(len(self.turn_rewards)),
        }
        own_fields = {
            "turn_rewards": self.turn_rewards,
            "turn_ends": self.turn_ends,
            "messages": episode.conversation.to_messages(),
            "stop_reason": stop_reason,
            "reward_extra_info": reported,
        }
        return TurnRewardOutput(
            prompt_ids=self.prompt_ids,
            response_ids=self.response_ids,
            response_mask=self.response_mask,
            response_logprobs=self.logprobs,
            reward_score=sum(self.turn_rewards),
            num_turns=2 * len(self.turn_rewards),
            metrics=self.metrics,
            extra_fields=self.engine_fields | own_fields,
        )


def _left_out(why: str) -> list[AgentLoopOutput]:
    logger.warning("A conversation is left out: %s", why)
    return []


def _as_json(world: Mapping[str, Any]) -> str:
    plain = OmegaConf.to_container(world, resolve=True) if OmegaConf.is_config(world) else dict(world)
    return json.dumps(plain, sort_keys=True)


@cache
def _shared_world(arguments: str) -> ChatWorld:
    """Return the world of these arguments; verl makes a loop for each conversation."""
    return ChatWorld(**json.loads(arguments))
