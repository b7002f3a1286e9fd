"""`Trajectory`: one conversation as it grows, in messages and in tokens; `episode_reward`: what it was worth.

`rollout_fields` writes trajectories in TRL's format. TRL passes every field that it does not know to reward functions.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from music.conversation import StopReason
from music_envs.chat.episode import Episode
from music_envs.credit import USER

__all__ = ["Trajectory", "episode_reward", "rollout_fields"]


@dataclass(slots=True, kw_only=True)
class Trajectory:
    """One conversation as it grows.

    Attributes:
        episode: The messages.
        prompt_ids: The tokens that the policy read before its first reply.
        completion_ids: All later tokens: its replies, and the user's messages between them.
        token_turns: For each completion token, the turn of the reply that it belongs to, from 0, or `USER`.
        logprobs: For each completion token, its log-probability when it was sampled; 0 if it was not.
        turn_rewards: The reward of each turn; NaN for a turn without one, from which nothing is learned.
        num_cut: Replies without an end token.
        is_unscorable: Whether a reply was blank or could not be scored.
    """

    episode: Episode
    prompt_ids: list[int]
    completion_ids: list[int] = field(default_factory=list)
    token_turns: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    turn_rewards: list[float] = field(default_factory=list)
    num_cut: int = 0
    is_unscorable: bool = False

    @property
    def is_running(self) -> bool:
        """Whether the policy replies next."""
        return self.episode.stop_reason is None

    @property
    def context(self) -> list[int]:
        """All tokens so far."""
        return self.prompt_ids + self.completion_ids

    def add_reply(self, ids: Sequence[int], logprobs: Sequence[float] | None) -> None:
        """Append the policy's tokens."""
        self._add(ids, len(self.turn_rewards), logprobs)

    def add_user(self, ids: Sequence[int]) -> None:
        """Append tokens that the policy did not write."""
        self._add(ids, USER, None)

    def end_turn(self, episode: Episode, reward: float) -> None:
        """Go on to the episode after the turn."""
        self.episode = episode
        self.turn_rewards.append(reward)

    def _add(self, ids: Sequence[int], turn: int, logprobs: Sequence[float] | None) -> None:
        self.completion_ids += ids
        self.token_turns += [turn] * len(ids)
        self.logprobs += logprobs or [0.0] * len(ids)

    @property
    def total_reward(self) -> float | None:
        """The sum of the rewards; None if a turn has none."""
        total = sum(self.turn_rewards)
        return None if math.isnan(total) else total

    @property
    def metrics(self) -> dict[str, float]:
        """Numbers whose means over episodes TRL logs."""
        num_turns = 1 + max(self.token_turns)  # `USER` is -1
        return {
            "num_turns": num_turns,
            "cut_replies": self.num_cut / max(1, num_turns),
            "unscorable": float(self.is_unscorable),
            "user_failed": float(self.episode.is_truncated and not self.is_unscorable),
            "context_full": float(self.episode.stop_reason is StopReason.CONTEXT_FULL),
        }


def rollout_fields(trajectories: Sequence[Trajectory], *, has_logprobs: bool) -> dict[str, Any]:
    """Return rollouts in TRL's format."""
    return {
        "prompt_ids": [each.prompt_ids for each in trajectories],
        "completion_ids": [each.completion_ids for each in trajectories],
        "logprobs": [each.logprobs for each in trajectories] if has_logprobs else None,
        "env_mask": [[int(turn != USER) for turn in each.token_turns] for each in trajectories],
        "token_turns": [each.token_turns for each in trajectories],
        "turn_rewards": [each.turn_rewards for each in trajectories],
        "episode_reward": [each.total_reward for each in trajectories],
        "episode_metrics": [each.metrics for each in trajectories],
        "conversation": [each.episode.conversation.to_messages() for each in trajectories],
        "stop_reason": [str(each.episode.stop_reason) for each in trajectories],
    }


def episode_reward(
    *,
    episode_reward: list[float | None],
    episode_metrics: Sequence[dict[str, float]] = (),
    log_metric: Callable[[str, float], None] | None = None,
    **_: Any,
) -> list[float | None]:
    """Return the rewards of `ChatRollout`, as one of GRPO's `reward_funcs`, and log means over the episodes.

    The metrics are `episodes/num_turns`, `episodes/cut_replies` (share of replies without an end token),
    `episodes/unscorable` (share with a reply that was blank or could not be scored), `episodes/user_failed` and
    `episodes/context_full`.
    """
    if log_metric is not None and episode_metrics:
        for name in episode_metrics[0]:
            log_metric(f"episodes/{name}", sum(each[name] for each in episode_metrics) / len(episode_metrics))
    return episode_reward
