"""Scoring candidates and keeping the best of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from music.conversation import Conversation
from music.pairs import Usage
from music.reward.functions import RewardFunction
from music_envs.best_of_n.rollout import Decision, Rollout
from music_envs.scoring import checked_scores

__all__ = ["Candidate", "keep_best", "score_pools", "select_best", "total_usage"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A rollout with its score.

    Attributes:
        rollout: It ends with the candidate's reply.
        score: The selector's score; None if the rollout failed.
    """

    rollout: Rollout
    score: float | None


def select_best(pools: Sequence[Sequence[Rollout]], reward: RewardFunction) -> list[Rollout]:
    """Keep the best conversation of every pool. All are scored in one call; failed ones are left out.

    Returns:
        One rollout per pool, with the decision recorded. If a whole pool failed, its first failure.

    Raises:
        InvalidInputError: The reward function returned unusable scores.
    """
    return [keep_best(pool, 1)[0] for pool in score_pools(pools, reward)]


def score_pools(pools: Sequence[Sequence[Rollout]], reward: RewardFunction) -> list[list[Candidate]]:
    """Score the rollouts of all pools in one call.

    Raises:
        InvalidInputError: The reward function returned unusable scores.
    """
    sound = [rollout.conversation for pool in pools for rollout in pool if not rollout.is_failed]
    scores = iter(checked_scores(reward, sound) if sound else [])
    return [[Candidate(rollout, None if rollout.is_failed else next(scores)) for rollout in pool] for pool in pools]


def keep_best(pool: Sequence[Candidate], num: int) -> list[Rollout]:
    """Return the best `num` distinct rollouts of a pool, best first, each with the decision recorded.

    The first one counts the usage of the whole pool. If all failed, only the first failure is returned.
    """
    sound = [(candidate.rollout, candidate.score) for candidate in pool if candidate.score is not None]
    if not sound:
        return [_paying(pool[0].rollout, pool)]
    conversations, scores = tuple(rollout.conversation for rollout, _ in sound), tuple(score for _, score in sound)
    order = sorted(range(len(sound)), key=lambda i: -scores[i])  # stable: of equals, the first comes first
    distinct: dict[Conversation, int] = {}
    for i in order:
        distinct.setdefault(conversations[i], i)
    kept: list[Rollout] = []
    for i in list(distinct.values())[:num]:
        decisions = (*sound[i][0].decisions, Decision(conversations, scores, i))
        kept.append(replace(_paying(sound[i][0], () if kept else pool), decisions=decisions))
    return kept


def _paying(rollout: Rollout, pool: Sequence[Candidate]) -> Rollout:
    """Return a rollout that counts the usage and the cut replies of a pool."""
    return replace(rollout, usage=total_usage(pool), num_cut=sum(each.rollout.num_cut for each in pool))


def total_usage(pool: Sequence[Candidate]) -> Usage:
    """Return the usage of all rollouts of a pool together."""
    return sum((candidate.rollout.usage for candidate in pool), Usage())
