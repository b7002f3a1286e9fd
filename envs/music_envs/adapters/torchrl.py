"""TorchRL's `ChatEnv`: `ChatUser`, a transform that adds the user, the reward and the end."""

from collections.abc import Sequence
from typing import Any

import torch
from tensordict import TensorDictBase, lazy_stack
from torchrl.data import Unbounded
from torchrl.data.llm import History
from torchrl.envs import Transform

from music.aio import finish_all, run_in_background
from music.reward.tokens.queries import as_prompt, reply_text
from music.seeding import derive_seed
from music_envs.chat.episode import Episode
from music_envs.chat.validation import require_action, require_running
from music_envs.chat.world import ChatWorld

__all__ = ["ChatUser"]


class ChatUser(Transform):  # type: ignore[misc]  # no types
    """Lets a user answer every reply, and rewards it, in TorchRL's `ChatEnv` with the input mode `history`.

    A step asks all users of a batch at once and scores the batch in one call. `reward`, `terminated`, `truncated` and
    `done` have the shape `[batch, 1]`. If a user fails, its step is `truncated`, with the reward 0; do not learn from
    it.

    Args:
        world: The user and the reward, with the arguments of `music_envs.ChatEnv`; you close it.
        seed: Seed of the users.
    """

    def __init__(self, world: ChatWorld, *, seed: int = 0) -> None:
        super().__init__()
        self._world = world
        self._seed = seed
        self._num_resets = 0
        self._episodes: list[Episode] = []

    def transform_reward_spec(self, reward_spec: Any) -> Any:
        """Declare one reward for each conversation."""
        reward_spec["reward"] = Unbounded(shape=(*reward_spec.shape, 1), dtype=torch.float32)
        return reward_spec

    def transform_done_spec(self, done_spec: Any) -> Any:
        """Declare `truncated`, which `ChatEnv` does not know."""
        done_spec["truncated"] = done_spec["done"].clone()
        return done_spec

    def _reset(self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase) -> TensorDictBase:
        """Start from the prompts."""
        histories = tensordict_reset["history"].prompt.unbind(0)
        self._num_resets += 1
        seeds = [derive_seed(self._seed, self._num_resets, row) for row in range(len(histories))]
        prompts = [as_prompt(_messages(history)) for history in histories]
        self._episodes = [self._world.take_up(prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]
        return _ended(tensordict_reset, self._episodes)

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        """Add the replies and the users' answers, and reward them.

        Raises:
            InvalidInputError: A reply is blank or too long, or a score is not finite.
            ResetNeeded: A conversation of the batch is over.
        """
        chats = next_tensordict["history"]
        replies = [reply_text(_messages(history)[-1]["content"]).strip() for history in chats.prompt.unbind(0)]
        before = [require_running(episode) for episode in self._episodes]
        for reply in replies:
            require_action(reply)
        answered = run_in_background(finish_all(list(map(self._world.reply, before, replies))))
        rewards, after = self._world.reward(before, answered)
        self._episodes = list(after)
        chats.prompt = lazy_stack([History.from_chats(episode.conversation.to_messages()) for episode in after])
        next_tensordict.set("reward", torch.tensor(rewards, dtype=torch.float32).unsqueeze(-1))
        return _ended(next_tensordict, after)


def _messages(history: History) -> list[dict[str, str]]:
    """Return one conversation as messages."""
    return [{"role": message.role, "content": message.content} for message in history.unbind(0)]


def _ended(tensordict: TensorDictBase, episodes: Sequence[Episode]) -> TensorDictBase:
    """Set the flags of conversations that are over."""
    terminated = torch.tensor([[episode.is_terminated] for episode in episodes])
    truncated = torch.tensor([[episode.is_truncated] for episode in episodes])
    return tensordict.update({"terminated": terminated, "truncated": truncated, "done": terminated | truncated})
