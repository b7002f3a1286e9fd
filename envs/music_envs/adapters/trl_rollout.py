"""TRL's `GRPOTrainer` over whole conversations: `ChatRollout`, a `rollout_func` in which a user answers every reply."""

import asyncio
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from music.aio import run_in_background
from music.reward.unscorable import UnscorableError
from music_agents.seeds import derive_seed
from music_envs.adapters.prompts import read_prompt
from music_envs.adapters.talk import Talk, rollout_fields
from music_envs.adapters.template import TurnTemplate
from music_envs.chat.episode import Episode
from music_envs.chat.world import ChatWorld

__all__ = ["ChatRollout"]


class ChatRollout:
    """GRPO's `rollout_func` for conversations of several turns.

    The user's turns stand between the policy's own tokens and are masked (`env_mask` 0). All replies of a turn are
    generated in one call, all users are asked at once, and all conversations scored in one call. In one call, equal
    prompts meet the same persona with the same seed, so a group differs by its replies alone.

    Use it with `reward_funcs=[episode_reward]`. Further fields for reward functions of your own: `turn_rewards`, and
    `conversation` (messages). An episode without a score (its user failed, or a reply was blank or too long to be
    scored) has the reward None, which TRL leaves out of its group.

    Args:
        world: The user and the reward, with all that `ChatEnv` takes; it stays yours to close.
        seed: Of the users.
    """

    def __init__(self, world: ChatWorld, *, seed: int = 0) -> None:
        self._world = world
        self._seed = seed
        self._num_calls = 0

    def __call__(self, prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
        """Return one rollout per prompt.

        Args:
            prompts: Messages, or JSON text of them; TRL has repeated each for its group already.
            trainer: The `GRPOTrainer`.

        Raises:
            InvalidInputError: A prompt has no messages, or does not end with the user.
        """
        tokenizer: PreTrainedTokenizerBase = trainer.processing_class
        options = {"chat_template": trainer.chat_template, **trainer.chat_template_kwargs}
        template = TurnTemplate(tokenizer, **options)
        talks = [self._begin(prompt, tokenizer, options) for prompt in prompts]
        self._num_calls += 1
        sampled: list[list[float]] | None = None
        while live := [talk for talk in talks if talk.is_running]:
            # Private, but it alone generates with every back-end that the trainer has, as the trainer itself does.
            replies, sampled = trainer._generate_single_turn(
                [t.prompt_ids + t.completion_ids for t in live], None, {}, 1
            )
            for number, talk in enumerate(live):
                talk.add(list(replies[number]), by_policy=True, logprobs=sampled[number] if sampled else None)
            self._go_on(
                live, [str(tokenizer.decode(ids, skip_special_tokens=True)).strip() for ids in replies], template
            )
        return rollout_fields(talks, has_logprobs=sampled is not None)

    def _begin(self, prompt: object, tokenizer: PreTrainedTokenizerBase, options: dict[str, Any]) -> Talk:
        conversation = read_prompt(prompt)
        episode = self._world.take_up(conversation, derive_seed(self._seed, self._num_calls, conversation))
        rendered: Any = tokenizer.apply_chat_template(
            conversation.to_messages(), tokenize=True, return_dict=True, add_generation_prompt=True, **options
        )
        return Talk(episode=episode, prompt_ids=rendered["input_ids"])

    def _go_on(self, talks: Sequence[Talk], replies: Sequence[str], template: TurnTemplate) -> None:
        """Let the users answer, pay for the replies, and put what the users said into the tokens."""
        for talk, reply in zip(talks, replies, strict=True):
            talk.turn_rewards = talk.turn_rewards if reply else None
        spoken = [(talk, reply) for talk, reply in zip(talks, replies, strict=True) if reply]
        after = run_in_background(self._answers(spoken))
        self._pay([talk for talk, _ in spoken], after)
        for talk in talks:
            if talk.is_running:
                closed = talk.completion_ids[-1] == template.closing_id
                said = template.between(talk.episode.conversation.messages[-1].content, closed=closed)
                talk.add(template.encode(said), by_policy=False)

    async def _answers(self, spoken: Sequence[tuple[Talk, str]]) -> list[Episode]:
        return await asyncio.gather(*(self._world.reply(talk.episode, reply) for talk, reply in spoken))

    def _pay(self, talks: Sequence[Talk], after: Sequence[Episode]) -> None:
        """Reward one step of each, in one call if all can be scored."""
        try:
            rewards, after = self._world.reward([talk.episode for talk in talks], after)
        except UnscorableError:
            if len(talks) == 1:
                talks[0].turn_rewards = None
                return
            for talk, episode in zip(talks, after, strict=True):
                self._pay([talk], [episode])
            return
        for talk, episode, reward in zip(talks, after, rewards, strict=True):
            talk.episode = episode
            talk.turn_rewards = None if episode.is_truncated else [*(talk.turn_rewards or []), reward]
