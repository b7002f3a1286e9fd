"""SkyRL: `ChatTextEnv`, a `BaseTextEnv` of SkyRL-Gym in which the world's user answers every reply.

SkyRL makes one environment per trajectory from a registered class. Yours sets the class attributes of `ChatTextEnv`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from skyrl_gym.envs.base_text_env import BaseTextEnv, BaseTextEnvStepOutput, ConversationType
from transformers import PreTrainedTokenizerBase

from music.aio import run_in_background
from music.reward.tokens.queries import as_prompt
from music.seeding import derive_seed
from music_envs.adapters.turns import Turn, take_turn
from music_envs.chat.episode import Episode
from music_envs.chat.validation import require_running
from music_envs.chat.world import ChatWorld

__all__ = ["ChatTextEnv"]

SLACK = 32
"""Tokens by which a conversation may be longer as it was sampled than as its text is tokenized."""


class ChatTextEnv(BaseTextEnv):  # type: ignore[misc]  # no types
    """One conversation with a user, for SkyRL's generator, which puts each reward on the last token of its reply.

    SkyRL cannot leave a reply out: one that cannot be scored ends the conversation with the floor. If the user fails,
    the last reply is rewarded as if the conversation had been meant to end there. The metrics
    `unscorable`, `user_failed`, `context_full` and `num_replies` count them.

    Attributes:
        world: The user and the reward, with the arguments of `ChatEnv`; you close it.
        tokenizer: The policy's.
        floor: The score of a conversation that cannot be scored; below all real scores.
        max_input_length: SkyRL's `generator.max_input_length`. SkyRL stops a longer conversation without a reward, so
            a conversation ends here once another prompt would not fit, and its last reply is rewarded.
        seed: Seed of the users. Equal prompts meet the same persona with the same seed.
    """

    world: ClassVar[ChatWorld]
    tokenizer: ClassVar[PreTrainedTokenizerBase]
    floor: ClassVar[float]
    max_input_length: ClassVar[int]
    seed: ClassVar[int] = 0

    def __init__(self, env_config: object = None, extras: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self._episode: Episode | None = None
        self._last: Turn | None = None
        self._num_replies = 0

    def init(self, prompt: ConversationType) -> tuple[ConversationType, dict[str, Any]]:
        """Start from the prompt.

        Raises:
            InvalidInputError: The prompt cannot be read, or does not end with the user.
        """
        conversation = as_prompt(prompt)
        self._episode = self.world.take_up(conversation, derive_seed(self.seed, conversation))
        return prompt, {}

    def step(self, action: str) -> BaseTextEnvStepOutput:
        """Add a reply and the user's answer, and reward it.

        Raises:
            ResetNeeded: The conversation is over.
        """
        before = require_running(self._episode)
        reply = action.strip()

        def fits(answer: str) -> bool:
            messages = before.conversation.assistant(reply).user(answer).to_messages()
            return self._num_tokens(messages) + SLACK <= self.max_input_length

        turn = run_in_background(take_turn(self.world, before, reply, floor=self.floor, is_cut=False, fits=fits))
        self._episode, self._last = turn.episode, turn
        self._num_replies += 1
        observations = [] if turn.answer is None else [{"role": "user", "content": turn.answer}]
        return BaseTextEnvStepOutput(
            observations=observations, reward=turn.reward, done=turn.answer is None, metadata=turn.episode.info
        )

    def get_metrics(self) -> dict[str, float]:
        """Return how the conversation went; SkyRL averages these."""
        return self._last.outcome | {"num_replies": float(self._num_replies)} if self._last else {}

    def _num_tokens(self, messages: ConversationType) -> int:
        ids: Any = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        return len(ids)
