"""The results of policy training."""

import operator
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from music.statistics import Estimate, paired_difference, simultaneous_differences
from music_trainers.policy.config import PolicyTrainingConfig

__all__ = ["Overoptimisation", "PolicyEvaluation", "PolicyTrainingResult"]

_MAX_REASONS = 3

_RECORD = ConfigDict(frozen=True, ser_json_inf_nan="strings")


class PolicyEvaluation(BaseModel):
    """The policy on the held-out episodes, which are the same at every evaluation.

    Attributes:
        step: Steps of training so far.
        reward: Mean reward of the episodes.
        grade: Mean grade by the judge; None without a judge.
        kl: Estimate of the divergence from the starting policy, in nats per reply; None for greedy replies.
        reply_tokens: Mean length of a reply.
        num_failed: Episodes that ended with an error; they are left out of all figures.
        rewards: Reward of each of the other episodes, as the policy learns from it: the mean over its turns if every
            reply is rewarded, else the conversation's reward.
        grades: The judge's grade of each of them; None without a judge.
        cut: Share of the replies that were cut at the largest number of tokens. `result.json` leaves this to the
            report's tables; None if it was read from there.
        blank: Share of the replies without text; likewise.
        errors: For each failed episode, by its number, the error that ended it; not saved if there is none.
    """

    model_config = _RECORD

    step: int
    reward: Estimate
    grade: Estimate | None
    kl: Estimate | None
    reply_tokens: float
    num_failed: int
    rewards: tuple[float, ...]
    grades: tuple[float, ...] | None
    cut: float | None = None
    blank: float | None = None
    errors: Mapping[int, str] = Field(default_factory=dict, exclude_if=operator.not_)

    @property
    def num_episodes(self) -> int:
        """Episodes that were played, with those that failed."""
        return len(self.rewards) + self.num_failed

    @property
    def episodes(self) -> list[int]:
        """The numbers of the episodes that did not fail."""
        return [i for i in range(self.num_episodes) if i not in self.errors]

    def gain_over(self, other: "PolicyEvaluation") -> Estimate | None:
        """Return the grades minus those of another evaluation, paired by episode; None with fewer than two pairs."""
        pair = _shared_grades((self, other))
        return paired_difference(*pair) if pair else None


class Overoptimisation(BaseModel):
    """The step with the judge's best grade, and whether grades fell afterwards.

    The test allows for the best step being picked and for the number of evaluations: of runs whose grades do not fall,
    at most 5 % are called over-optimised.

    Attributes:
        best_step: The step with the highest grade. As it is picked, its grade is slightly too high.
        sets_in: The first step from which every grade is below the best beyond noise; None if there is none.
        loss: The last grade minus the best; its interval and those of the last grade minus every other earlier grade
            hold at once. None if the last is the best.
        num_episodes: Episodes that were played to their end at every evaluation; the test uses these.
    """

    model_config = _RECORD

    best_step: int
    sets_in: int | None
    loss: Estimate | None
    num_episodes: int


class PolicyTrainingResult(BaseModel):
    """The result of a run, `result.json`.

    Attributes:
        curve: Evaluations with sampled replies, from the starting policy (step 0) to the last step.
        greedy_before: The starting policy with greedy replies: the grade that sharpening alone can reach.
        greedy_after: The trained policy with greedy replies.
        overoptimisation: Whether the reward was over-optimised; None without a judge, or if fewer than two episodes
            were played to their end at every evaluation.
        seconds: Duration of the whole run, with its evaluations.
    """

    model_config = _RECORD

    config: PolicyTrainingConfig
    curve: tuple[PolicyEvaluation, ...]
    greedy_before: PolicyEvaluation
    greedy_after: PolicyEvaluation
    overoptimisation: Overoptimisation | None
    seconds: float


_SHARES = {"cut", "blank"}
NOT_SAVED: Any = {"curve": {"__all__": _SHARES}, "greedy_before": _SHARES, "greedy_after": _SHARES}
"""Fields of a result that are in the report only."""


def format_errors(errors: Iterable[str]) -> str:
    """Write the most frequent errors with their counts in one line."""
    ranked = Counter(errors).most_common()
    shown = [f"{num} x {' '.join(error.split())}" for error, num in ranked[:_MAX_REASONS]]
    rest = [f"{len(ranked) - _MAX_REASONS} other errors"] if len(ranked) > _MAX_REASONS else []
    return "; ".join(shown + rest)


def find_overoptimisation(curve: Sequence[PolicyEvaluation]) -> Overoptimisation | None:
    """Find the best grade in a curve, and the step from which grades stay below it beyond noise.

    The evaluations are tested from the last one backwards, each against all earlier ones at once, until one is not
    below the best. Hypotheses in a fixed order need no further correction: the first true one is rejected with 5 % at
    most, and no later one is tested.
    """
    grades = _shared_grades(curve)
    if grades is None:
        return None
    best = max(range(len(curve)), key=lambda i: float(np.mean(grades[i])))
    sets_in, loss = None, None
    for i in range(len(curve) - 1, best, -1):
        gap = simultaneous_differences(grades[i], grades[:i])[best]
        loss = loss or gap
        if gap.high >= 0:
            break
        sets_in = curve[i].step
    return Overoptimisation(best_step=curve[best].step, sets_in=sets_in, loss=loss, num_episodes=len(grades[0]))


def _shared_grades(points: Sequence[PolicyEvaluation]) -> list[list[float]] | None:
    """Return each evaluation's grades of the episodes that all have; None without a judge or with fewer than two."""
    by_episode = [dict(zip(point.episodes, point.grades or (), strict=bool(point.grades))) for point in points]
    shared = sorted(set[int].intersection(*(set(grades) for grades in by_episode)))
    return [[grades[i] for i in shared] for grades in by_episode] if len(shared) > 1 else None
