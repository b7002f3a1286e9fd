"""The policy on held-out episodes: its reward, the judge's grade, and its divergence from the starting policy."""

import math
from collections.abc import Sequence
from functools import partial
from statistics import fmean
from typing import Any

import torch

from music.conversation import Conversation
from music.errors import MusicError
from music.reward.functions import RewardFunction
from music.statistics import mean
from music_envs import ChatVectorEnv
from music_envs.credit import USER
from music_envs.scoring import scores_or_none
from music_trainers.policy.chat_tokens import ChatTokens
from music_trainers.policy.config import PolicyTrainingConfig
from music_trainers.policy.likelihood import reply_log_likelihoods
from music_trainers.policy.records import PolicyEvaluation, format_errors
from music_trainers.policy.rollouts import PLAY_ON, EpisodeRules, Trajectory, roll_out
from music_trainers.policy.sampling import sample_replies

__all__ = ["HeldOutEpisodes", "require_reward_somewhere"]

FIRST_SEED = 10**12
"""First seed of the held-out users; no training run uses these seeds."""


class HeldOutEpisodes:
    """Held-out episodes, always with the same users and the same sampling noise.

    Args:
        config: The settings of the run.
        env: One environment for each episode, with the reward of the training.
        judge: Grades conversations; None for no judge.
        start: The starting policy, which is not changed; it and the policy have TRL's fused head.
        tokens: The policy's chat template.
        rules: When episodes end early.
    """

    def __init__(
        self,
        config: PolicyTrainingConfig,
        env: ChatVectorEnv,
        judge: RewardFunction | None,
        start: Any,
        tokens: ChatTokens,
        rules: EpisodeRules = PLAY_ON,
    ) -> None:
        self._config, self._env, self._judge = config, env, judge
        self._start, self._tokens, self._rules = start, tokens, rules

    def evaluate(
        self, model: Any, step: int, *, greedy: bool = False
    ) -> tuple[PolicyEvaluation, tuple[Conversation, ...]]:
        """Play all episodes with a policy; return the figures, and the conversations without an error.

        Raises:
            MusicError: An error ended every episode.
        """
        played = self._played(model, greedy)
        sound = [trajectory for trajectory in played if not math.isnan(trajectory.rewards[-1])]
        if not sound:
            raise MusicError(_all_failed(played, f"held-out episodes at step {step}"))
        conversations = tuple(trajectory.conversation for trajectory in sound)
        total = sum if self._config.reward_mode == "terminal" else fmean
        rewards = tuple(total(trajectory.rewards) for trajectory in sound)
        grades = _grades(self._judge, sound) if self._judge else None
        num_replies = sum(len(trajectory.rewards) for trajectory in sound)
        evaluation = PolicyEvaluation(
            step=step,
            reward=mean(rewards),
            grade=mean(grades) if grades else None,
            kl=None if greedy else mean(self._divergences(model, sound)),
            reply_tokens=sum(turn != USER for trajectory in sound for turn in trajectory.turns) / num_replies,
            num_failed=len(played) - len(sound),
            rewards=rewards,
            grades=grades,
            cut=sum(trajectory.num_cut for trajectory in sound) / num_replies,
            blank=sum(trajectory.num_blank for trajectory in sound) / num_replies,
            errors={i: row.error for i, row in enumerate(played) if math.isnan(row.rewards[-1])},
        )
        return evaluation, conversations

    def _played(self, model: Any, greedy: bool) -> list[Trajectory]:
        was_training = model.training
        model.eval()
        with torch.random.fork_rng():
            torch.manual_seed(self._config.seed)
            generate = partial(
                sample_replies, model, self._tokens, max_tokens=self._config.max_reply_tokens, greedy=greedy
            )
            seeds = range(FIRST_SEED, FIRST_SEED + self._config.num_evaluations)
            played = roll_out(self._env, self._tokens, generate, seeds, self._rules)
        model.train(was_training)
        return played

    def _divergences(self, model: Any, played: Sequence[Trajectory]) -> list[float]:
        """Return for each episode log(policy / start) of its replies, per reply; the mean estimates the KL."""
        divergences: list[float] = []
        for first in range(0, len(played), self._config.micro_batch_size):
            batch = played[first : first + self._config.micro_batch_size]
            policy, start = (reply_log_likelihoods(each, batch, self._tokens.pad_id) for each in (model, self._start))
            gaps = policy - start
            divergences += (gaps / torch.tensor([len(row.rewards) for row in batch])).tolist()
        return divergences


def require_reward_somewhere(played: Sequence[Trajectory]) -> None:
    """Refuse to learn from a step without any reward.

    Raises:
        MusicError: An error ended every episode before its first reward.
    """
    if all(math.isnan(trajectory.rewards[0]) for trajectory in played):
        raise MusicError(_all_failed(played, "episodes of a training step"))


def _all_failed(played: Sequence[Trajectory], episodes: str) -> str:
    """Say that all episodes failed, and why."""
    return f"all {len(played)} {episodes} failed: {format_errors(trajectory.error for trajectory in played)}"


def _grades(judge: RewardFunction, played: Sequence[Trajectory]) -> tuple[float, ...] | None:
    """Grade conversations; one that ended with a blank or unscorable reply gets the lowest grade of all."""
    grades = scores_or_none(judge, [None if each.is_unscorable else each.conversation for each in played])
    given = [grade for grade in grades if grade is not None]
    return tuple(min(given) if grade is None else grade for grade in grades) if given else None
