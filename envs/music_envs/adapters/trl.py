"""TRL's `GRPOTrainer`: `as_trl_reward` for single replies, `ChatRollout` for conversations in which a user answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerBase

from music.aio import finish_all, run_in_background
from music.errors import InvalidInputError
from music.reward.functions import RewardFunction
from music.reward.tokens.contract import UnscorableError
from music.reward.tokens.queries import as_prompt, replied, reply_text
from music.seeding import derive_seed
from music_envs.adapters.template import TurnTemplate
from music_envs.chat.episode import Episode
from music_envs.chat.world import ChatWorld
from music_envs.scoring import scores_or_none

__all__ = ["ChatRollout", "as_trl_reward", "episode_reward"]

Messages = list[dict[str, Any]]


def as_trl_reward(reward: RewardFunction) -> Callable[..., list[float | None]]:
    """Return a reward as one of GRPO's `reward_funcs`, for a data set with conversational prompts.

    A reply that cannot be scored, for example a blank one or a bare tool call, gets None, and TRL leaves it out of its
    group. The metric `unscorable` is the share of such replies.
    """

    def conversation_reward(
        prompts: Sequence[Messages],
        completions: Sequence[Messages],
        log_metric: Callable[[str, float], None] | None = None,
        **_: Any,
    ) -> list[float | None]:
        pairs = zip(prompts, completions, strict=True)
        scores = scores_or_none(reward, [replied(as_prompt(prompt), _reply(made)) for prompt, made in pairs])
        if log_metric is not None:
            log_metric("unscorable", scores.count(None) / len(scores))
        return scores

    return conversation_reward


def _reply(completion: Messages) -> str:
    if len(completion) != 1 or completion[0]["role"] != "assistant":
        raise InvalidInputError(f"expected a completion of one assistant message, got {completion!r:.200}")
    return reply_text(completion[0].get("content"))


def episode_reward(*, episode_reward: list[float | None], **_: Any) -> list[float | None]:
    """Return the rewards of `ChatRollout`, as one of GRPO's `reward_funcs`."""
    return episode_reward


class ChatRollout:
    """GRPO's `rollout_func` for conversations of several turns.

    The user's turns are between the policy's own tokens and are masked (`env_mask` 0). Every turn generates all replies
    in one call, asks all users at once, and scores all conversations in one call. Within a call, equal prompts meet the
    same persona with the same seed, so a group differs only in its replies.

    Use it with `reward_funcs=[episode_reward]`. Reward functions of your own also get `turn_rewards` and
    `conversation` (messages). An episode without a score (its user failed, or a reply was blank or too long to be
    scored) has the reward None, and TRL leaves it out of its group.

    Args:
        world: The user and the reward, with the arguments of `ChatEnv`; you close it.
        seed: Seed of the users.
    """

    def __init__(self, world: ChatWorld, *, seed: int = 0) -> None:
        self._world = world
        self._seed = seed
        self._num_calls = 0

    def __call__(self, prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
        """Return one rollout per prompt.

        Args:
            prompts: Messages, or JSON text of them; TRL has already repeated each for its group.
            trainer: The `GRPOTrainer`.

        Raises:
            InvalidInputError: A prompt cannot be read, or does not end with the user.
        """
        tokenizer: PreTrainedTokenizerBase = trainer.processing_class
        options = {"chat_template": trainer.chat_template, **trainer.chat_template_kwargs}
        template = TurnTemplate(tokenizer, **options)
        trajectories = [self._begin(prompt, tokenizer, options) for prompt in prompts]
        self._num_calls += 1
        sampled: list[list[float]] | None = None
        while running := [trajectory for trajectory in trajectories if trajectory.is_running]:
            # This method is private, but only it supports every back-end of the trainer.
            replies, sampled = trainer._generate_single_turn(
                [each.prompt_ids + each.completion_ids for each in running], None, {}, 1
            )
            for number, trajectory in enumerate(running):
                trajectory.add(list(replies[number]), by_policy=True, logprobs=sampled[number] if sampled else None)
            texts = [str(tokenizer.decode(ids, skip_special_tokens=True)).strip() for ids in replies]
            self._step(running, texts, template)
        return _rollout_fields(trajectories, has_logprobs=sampled is not None)

    def _begin(self, prompt: object, tokenizer: PreTrainedTokenizerBase, options: dict[str, Any]) -> "_Trajectory":
        conversation = as_prompt(prompt)
        episode = self._world.take_up(conversation, derive_seed(self._seed, self._num_calls, conversation))
        rendered: Any = tokenizer.apply_chat_template(
            conversation.to_messages(), tokenize=True, return_dict=True, add_generation_prompt=True, **options
        )
        return _Trajectory(episode=episode, prompt_ids=rendered["input_ids"])

    def _step(self, trajectories: Sequence["_Trajectory"], replies: Sequence[str], template: TurnTemplate) -> None:
        """Let the users answer, reward the replies, and append the users' messages to the tokens."""
        for trajectory, reply in zip(trajectories, replies, strict=True):
            trajectory.turn_rewards = trajectory.turn_rewards if reply else None
        replied_to = [(each, reply) for each, reply in zip(trajectories, replies, strict=True) if reply]
        after = run_in_background(finish_all([self._world.reply(each.episode, reply) for each, reply in replied_to]))
        self._reward([trajectory for trajectory, _ in replied_to], after)
        for trajectory in trajectories:
            if trajectory.is_running:
                closed = trajectory.completion_ids[-1] == template.closing_id
                answer = template.between(trajectory.episode.conversation.messages[-1].content, closed=closed)
                trajectory.add(template.encode(answer), by_policy=False)

    def _reward(self, trajectories: Sequence["_Trajectory"], after: Sequence[Episode]) -> None:
        """Reward one step of each, in one call if all can be scored."""
        try:
            rewards, after = self._world.reward([trajectory.episode for trajectory in trajectories], after)
        except UnscorableError:
            if len(trajectories) == 1:
                trajectories[0].turn_rewards = None
                return
            for trajectory, episode in zip(trajectories, after, strict=True):
                self._reward([trajectory], [episode])
            return
        for trajectory, episode, reward in zip(trajectories, after, rewards, strict=True):
            trajectory.episode = episode
            trajectory.turn_rewards = None if episode.is_truncated else [*(trajectory.turn_rewards or []), reward]


@dataclass(slots=True, kw_only=True)
class _Trajectory:
    """One conversation as it grows, in messages and in tokens; its rewards are None once it cannot be scored."""

    episode: Episode
    prompt_ids: list[int]
    completion_ids: list[int] = field(default_factory=list)
    env_mask: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    turn_rewards: list[float] | None = field(default_factory=list)

    @property
    def is_running(self) -> bool:
        """Whether the policy replies next."""
        return self.turn_rewards is not None and self.episode.stop_reason is None

    def add(self, ids: list[int], *, by_policy: bool, logprobs: Sequence[float] | None = None) -> None:
        """Append tokens, of the policy or of the user."""
        self.completion_ids += ids
        self.env_mask += [int(by_policy)] * len(ids)
        self.logprobs += logprobs or [0.0] * len(ids)


def _rollout_fields(trajectories: Sequence[_Trajectory], *, has_logprobs: bool) -> dict[str, Any]:
    """Return the rollouts in TRL's format."""
    return {
        "prompt_ids": [each.prompt_ids for each in trajectories],
        "completion_ids": [each.completion_ids for each in trajectories],
        "logprobs": [each.logprobs for each in trajectories] if has_logprobs else None,
        "env_mask": [each.env_mask for each in trajectories],
        "episode_reward": [None if each.turn_rewards is None else sum(each.turn_rewards) for each in trajectories],
        "turn_rewards": [each.turn_rewards for each in trajectories],
        "conversation": [each.episode.conversation.to_messages() for each in trajectories],
    }
