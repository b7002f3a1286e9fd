"""Judging finished conversations, and saying how sure it is that one selector's are better than another's."""

from collections.abc import Sequence
from dataclasses import dataclass

from music.errors import InvalidInputError
from music.reward.functions import RewardFunction
from music.statistics import Estimate, describe, mean, paired_difference, win_rate
from music_envs.best_of_n.rollout import Rollout
from music_envs.scoring import checked_scores

__all__ = ["Comparison", "compare", "judge_rollouts", "mean_grade"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two selectors over the same seeds.

    Attributes:
        difference: First minus second, paired by conversation.
        win_rate: How often the first is better; ties count half.
        num_ties: Conversations that the judge finds equal.
        num_excluded: Conversations left out because one of the two failed.
    """

    difference: Estimate
    win_rate: Estimate
    num_ties: int
    num_excluded: int

    def __str__(self) -> str:
        """Return the finding in words."""
        return (
            f"difference {describe(self.difference)}; win rate {describe(self.win_rate, null=0.5)} "
            f"({self.num_ties} of {self.difference.num} tied)"
        )


def judge_rollouts(rollouts: Sequence[Rollout], judge: RewardFunction) -> list[float | None]:
    """Grade every conversation, all in one call; None for those that failed.

    Raises:
        InvalidInputError: The judge gave scores that are no use.
    """
    sound = [rollout.conversation for rollout in rollouts if not rollout.is_failed]
    grades = iter(checked_scores(judge, sound) if sound else [])
    return [None if rollout.is_failed else next(grades) for rollout in rollouts]


def mean_grade(grades: Sequence[float | None]) -> Estimate:
    """Estimate the mean grade of the conversations that did not fail.

    Raises:
        InvalidInputError: All of them failed.
    """
    sound = [grade for grade in grades if grade is not None]
    if not sound:
        raise InvalidInputError("expected at least one conversation that did not fail, got none")
    return mean(sound)


def compare(first: Sequence[float | None], second: Sequence[float | None]) -> Comparison:
    """Compare two lists of grades of the same seeds in the same order.

    Raises:
        InvalidInputError: The lists differ in length, or no conversation has a grade in both.
    """
    if len(first) != len(second):
        raise InvalidInputError(f"expected grades of the same seeds, got {len(first)} and {len(second)}")
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    if not pairs:
        raise InvalidInputError("expected at least one conversation that failed in neither arm, got none")
    left, right = [a for a, _ in pairs], [b for _, b in pairs]
    num_ties = sum(a == b for a, b in pairs)
    return Comparison(paired_difference(left, right), win_rate(left, right), num_ties, len(first) - len(pairs))
