"""The value of each further candidate, by the selecting reward and by a judge: all n from one set of candidates.

A decision has N candidates. The value of the best of n is its expectation over all choices of n of them: with the
candidates sorted by reward, the one of rank r (from 0) is the best of n with probability C(N-1-r, n-1) / C(N, n). No
candidates are drawn again for a smaller n, and every n uses all of them.

The reward and a judge have different scales, so both gains over n = 1 are in standard deviations of the candidates of
one decision. Their gap is what selection gains in the reward alone. It grows with n for an imperfect reward. If the
judge's grade falls while the reward rises, n is too large: the reward is over-optimised (Gao et al. 2022, "Scaling laws
for reward model overoptimization").
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import comb, log

import numpy as np
from numpy.typing import NDArray

from music.reward.functions import RewardFunction
from music.statistics import Estimate, mean
from music_envs.best_of_n.rollout import Rollout
from music_envs.scoring import checked_scores

__all__ = ["ScoreByN", "score_by_n"]

EQUAL = 1e-9
"""Smaller gains are rounding errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreByN:
    """The value of the best of n candidates.

    Attributes:
        num_candidates: n.
        divergence: KL divergence of the best of n from a single candidate, in nats: log n - (n - 1) / n. It is exact
            if no two candidates are equal, and a bound otherwise.
        reward: Mean reward of the best.
        grade: Mean grade of the best by the judge; None without one.
        reward_gain: The reward's gain over n = 1, in standard deviations of a decision's candidates.
        grade_gain: The grade's gain, likewise.
        gap: The reward's gain less the grade's.
    """

    num_candidates: int
    divergence: float
    reward: Estimate
    reward_gain: Estimate
    grade: Estimate | None = None
    grade_gain: Estimate | None = None
    gap: Estimate | None = None


def score_by_n(
    rollouts: Sequence[Rollout], *, num_candidates: int, judge: RewardFunction | None = None
) -> list[ScoreByN]:
    """Estimate the value of the best of n, for n = 1, 2, 4 ... N; intervals resample whole conversations.

    Args:
        rollouts: From `Greedy` (the best of n replies to the same history) or `Whole` (of n whole conversations). The
            candidates of `Beam` and `Anytime` depend on each other's scores and allow no estimate.
        num_candidates: N. Decisions with a failed candidate are left out.
        judge: Grades all candidates, in one call.

    Returns:
        One estimate per n; an empty list if no decision has N candidates.

    Raises:
        InvalidInputError: The judge returned unusable scores.
    """
    found = [(r.index, d) for r in rollouts for d in r.decisions if len(d.candidates) == num_candidates]
    if not found:
        return []
    conversations = [index for index, _ in found]
    scores_dn = np.array([decision.scores for _, decision in found])
    if judge is None:
        return [_estimate(n, conversations, scores_dn, None) for n in _sizes(num_candidates)]
    grades = checked_scores(judge, [candidate for _, decision in found for candidate in decision.candidates])
    grades_dn = np.array(grades).reshape(scores_dn.shape)
    return [_estimate(n, conversations, scores_dn, grades_dn) for n in _sizes(num_candidates)]


def _sizes(num_candidates: int) -> list[int]:
    """Return the powers of two below N, and N."""
    return [2**k for k in range((num_candidates - 1).bit_length())] + [num_candidates]


def _estimate(
    n: int, conversations: Sequence[int], scores_dn: NDArray[np.float64], grades_dn: NDArray[np.float64] | None
) -> ScoreByN:
    """Estimate one n, from scores and grades by decision and candidate."""
    reward, reward_gain = _best_of(n, scores_dn, scores_dn)
    estimate = ScoreByN(
        num_candidates=n,
        divergence=log(n) - (n - 1) / n,
        reward=mean(reward, clusters=conversations),
        reward_gain=mean(reward_gain, clusters=conversations),
    )
    if grades_dn is None:
        return estimate
    grade, grade_gain = _best_of(n, scores_dn, grades_dn)
    return replace(
        estimate,
        grade=mean(grade, clusters=conversations),
        grade_gain=mean(grade_gain, clusters=conversations),
        gap=mean(reward_gain - grade_gain, clusters=conversations),
    )


def _best_of(
    n: int, scores_dn: NDArray[np.float64], values_dn: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return, by decision, the value of the best of n by score, and its gain in standard deviations."""
    num = scores_dn.shape[1]
    chances = np.array([comb(num - 1 - rank, n - 1) / comb(num, n) for rank in range(num)])
    order = np.argsort(-scores_dn, axis=1, kind="stable")
    value = np.take_along_axis(values_dn, order, axis=1) @ chances
    deviation = float(np.sqrt(values_dn.var(axis=1).mean()))
    # If all candidates have the same value, up to rounding, nothing can be gained.
    gain = (value - values_dn.mean(axis=1)) / (deviation if deviation > EQUAL else 1.0)
    return value, np.where(np.abs(gain) > EQUAL, gain, 0.0)
