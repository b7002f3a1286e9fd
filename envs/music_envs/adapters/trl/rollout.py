"""`ChatRollout`: GRPO's `rollout_func` for conversations in which a user answers."""

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from accelerate.utils import gather_object

from music.aio import finish_all, run_in_background
from music.conversation import StopReason
from music.errors import InvalidInputError
from music.reward.tokens.contract import UnscorableError
from music.reward.tokens.queries import as_prompt
from music.seeding import derive_seed
from music_envs.adapters.template import TurnTemplate
from music_envs.adapters.trl.trajectory import Trajectory, rollout_fields
from music_envs.chat.episode import Episode
from music_envs.chat.world import ChatWorld

__all__ = ["ChatRollout"]


class ChatRollout:
    """GRPO's `rollout_func` for conversations of several turns.

    The user's turns are between the policy's own tokens and are masked (`env_mask` 0). Every turn generates all replies
    in one call, asks all users at once, and scores all conversations in one call. In an update, equal prompts meet the
    same persona with the same seed, so a group differs only in its replies. All processes generate equally often and
    equally many replies, as generation may be one operation of all of them.

    Use it with `reward_funcs=[episode_reward]`, and with `TurnLevelGRPOTrainer` for credit by turn. Reward functions of
    your own also get `turn_rewards`, `conversation` (messages) and `stop_reason`. An episode ends before its next
    prompt and `max_completion_length` more tokens exceed the context (`context_full`).

    Args:
        world: The user and the reward, with the arguments of `ChatEnv`; you close it.
        floor: The score of a conversation whose last reply is blank or cannot be scored; set it below all scores.
            Without it such a turn has no reward (NaN), and its episode has the reward None: nothing is learned from
            it. A turn whose user failed never has a reward.
        seed: Seed of the users.
    """

    def __init__(self, world: ChatWorld, *, floor: float | None = None, seed: int = 0) -> None:
        self._world = world
        self._floor = floor
        self._seed = seed

    def __call__(self, prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
        """Return one rollout per prompt.

        Args:
            prompts: Messages, or JSON text of them; TRL has already repeated each for its group.
            trainer: The `GRPOTrainer`.

        Raises:
            InvalidInputError: A prompt cannot be read, or does not end with the user; the policy does not stop where
                the chat template ends a reply; or the context has room for a reply only.
        """
        options = {"chat_template": trainer.chat_template, **trainer.chat_template_kwargs}
        template = _stopping_template(trainer, options)
        room = _longest_prompt(trainer)
        trajectories = [self._begin(prompt, trainer, options) for prompt in prompts]
        for trajectory in trajectories:
            if len(trajectory.prompt_ids) > room:  # TRL expects at least one token
                trajectory.add_user([template.closing_id])
                trajectory.end_turn(replace(trajectory.episode, stop_reason=StopReason.CONTEXT_FULL), math.nan)
        while num_prompts := max(gather_object([sum(trajectory.is_running for trajectory in trajectories)])):
            running = [trajectory for trajectory in trajectories if trajectory.is_running]
            self._step(running, _generate(running, num_prompts, trainer, template), template, room)
        return rollout_fields(trajectories, has_logprobs=trainer.use_vllm)

    def _begin(self, prompt: object, trainer: Any, options: dict[str, Any]) -> Trajectory:
        conversation = as_prompt(prompt)
        seed = derive_seed(self._seed, trainer.state.global_step, conversation)
        rendered: Any = trainer.processing_class.apply_chat_template(
            conversation.to_messages(), tokenize=True, return_dict=True, add_generation_prompt=True, **options
        )
        return Trajectory(episode=self._world.take_up(conversation, seed), prompt_ids=rendered["input_ids"])

    def _step(self, running: Sequence[Trajectory], replies: Sequence[str], template: TurnTemplate, room: int) -> None:
        """Let the users answer, reward the replies, and append the users' messages to the tokens."""
        spoken = [(each, reply) for each, reply in zip(running, replies, strict=True) if reply]
        for trajectory, reply in zip(running, replies, strict=True):
            if not reply:
                self._end_unscorable(trajectory, trajectory.episode, "the reply is blank")
        after = run_in_background(finish_all([self._world.reply(each.episode, reply) for each, reply in spoken]))
        answers = []
        for number, (trajectory, _) in enumerate(spoken):
            answers.append(_answer_ids(trajectory, after[number], template))
            if len(trajectory.context) + len(answers[-1]) > room and after[number].stop_reason is None:
                after[number] = replace(after[number], stop_reason=StopReason.CONTEXT_FULL)
        self._reward([trajectory for trajectory, _ in spoken], after)
        for (trajectory, _), answer in zip(spoken, answers, strict=True):
            if trajectory.is_running:
                trajectory.add_user(answer)

    def _reward(self, trajectories: Sequence[Trajectory], after: Sequence[Episode]) -> None:
        """Reward one step of each, in one call if all can be scored; otherwise halves are tried on their own."""
        try:
            rewards, after = self._world.reward([trajectory.episode for trajectory in trajectories], after)
        except UnscorableError as error:
            if len(trajectories) == 1:
                self._end_unscorable(trajectories[0], after[0], str(error))
                return
            half = len(trajectories) // 2
            self._reward(trajectories[:half], after[:half])
            self._reward(trajectories[half:], after[half:])
            return
        for trajectory, episode, reward in zip(trajectories, after, rewards, strict=True):
            trajectory.end_turn(episode, math.nan if episode.is_truncated else reward)

    def _end_unscorable(self, trajectory: Trajectory, after: Episode, reason: str) -> None:
        before = (trajectory.episode.score or 0.0) if self._world.reward_mode == "difference" else 0.0
        trajectory.is_unscorable = True
        trajectory.end_turn(after.failed(reason), math.nan if self._floor is None else self._floor - before)


def _stopping_template(trainer: Any, options: dict[str, Any]) -> TurnTemplate:
    template = TurnTemplate(trainer.processing_class, **options)
    if template.closing_id not in trainer.eos_token_ids:
        raise InvalidInputError(
            f"expected a chat template that ends replies with a token at which the policy stops, one of "
            f"{trainer.processing_class.convert_ids_to_tokens(trainer.eos_token_ids)}, got {template.closing!r}: "
            f"add it to the model's generation_config.eos_token_id"
        )
    return template


def _generate(running: Sequence[Trajectory], num_prompts: int, trainer: Any, template: TurnTemplate) -> list[str]:
    """Sample a reply to each and return the texts.

    Every process must send `num_prompts` prompts, because TRL may gather the prompts of all processes (vLLM's server,
    tensor parallelism) and takes as many replies for each as it sent. Some wait for the others in other ways (ZeRO-3,
    FSDP). Prompts of one token fill up, and their replies are dropped.
    """
    prompts = [each.context for each in running] + [[template.closing_id]] * (num_prompts - len(running))
    # This method is private, but only it supports every back-end of the trainer.
    replies, logprobs = trainer._generate_single_turn(prompts, None, {}, 1)
    texts = []
    for number, trajectory in enumerate(running):
        reply = list(replies[number])
        trajectory.add_reply(reply, logprobs[number] if logprobs else None)
        trajectory.num_cut += reply[-1] not in trainer.eos_token_ids
        texts.append(str(trainer.processing_class.decode(reply, skip_special_tokens=True)).strip())
    return texts


def _answer_ids(trajectory: Trajectory, after: Episode, template: TurnTemplate) -> list[int]:
    """Return the tokens between the reply and the next one; none if the episode is over."""
    if after.stop_reason is not None:
        return []
    closed = trajectory.completion_ids[-1] == template.closing_id
    return template.encode(template.between(after.conversation.messages[-1].content, closed=closed))


def _longest_prompt(trainer: Any) -> int:
    """Return the number of tokens after which a whole reply still fits into the context."""
    context, reply = _context_length(trainer), int(trainer.max_completion_length)
    if reply >= context:
        raise InvalidInputError(
            f"expected room for prompts in the policy's context of {context} tokens, "
            f"got max_completion_length={reply}: set it to the length of one reply"
        )
    return context - reply


def _context_length(trainer: Any) -> int:
    """Return how many tokens the policy can read and write; TRL's loop for tools has the same limits."""
    if trainer.use_vllm and trainer.vllm_mode == "colocate":
        return int(trainer.vllm_generation.llm.llm_engine.model_config.max_model_len)
    of_model = getattr(trainer.model.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize
    of_server = trainer.args.vllm_max_model_length or sys.maxsize
    return min(int(of_model), int(of_server))
