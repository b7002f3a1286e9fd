"""`Talk`: one conversation as it grows in a rollout of GRPO, in messages and in tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from music_envs.chat.episode import Episode

__all__ = ["Talk", "rollout_fields"]


@dataclass(slots=True, kw_only=True)
class Talk:
    """One conversation as it grows, in messages and in tokens; its reward is None once it cannot be scored."""

    episode: Episode
    prompt_ids: list[int]
    completion_ids: list[int] = field(default_factory=list)
    env_mask: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    turn_rewards: list[float] | None = field(default_factory=list)

    @property
    def is_running(self) -> bool:
        """Whether the policy is to reply."""
        return self.turn_rewards is not None and self.episode.stop_reason is None

    def add(self, ids: list[int], *, by_policy: bool, logprobs: Sequence[float] | None = None) -> None:
        """Append tokens, of the policy or of the user."""
        self.completion_ids += ids
        self.env_mask += [int(by_policy)] * len(ids)
        self.logprobs += logprobs or [0.0] * len(ids)


def rollout_fields(talks: Sequence[Talk], *, has_logprobs: bool) -> dict[str, Any]:
    """Return the rollouts as TRL takes them."""
    return {
        "prompt_ids": [talk.prompt_ids for talk in talks],
        "completion_ids": [talk.completion_ids for talk in talks],
        "logprobs": [talk.logprobs for talk in talks] if has_logprobs else None,
        "env_mask": [talk.env_mask for talk in talks],
        "episode_reward": [None if talk.turn_rewards is None else sum(talk.turn_rewards) for talk in talks],
        "turn_rewards": [talk.turn_rewards for talk in talks],
        "conversation": [talk.episode.conversation.to_messages() for talk in talks],
    }
