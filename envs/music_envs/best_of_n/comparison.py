"""Comparisons of two selectors: by the grades of a reward, or by a language model.

- `grade_rollouts`, `mean_grade`, `compare_grades`: a grade per conversation, and the paired difference.
- `compare_rollouts`: a `PairwiseJudge` reads both conversations of each seed, in both orders; ties count half.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from music.aio import gather_all
from music.errors import InvalidInputError
from music.judges.pairwise import PairJudgement, PairwiseJudge
from music.judges.reliability import JudgeReport, pairwise_figures
from music.reward.functions import RewardFunction
from music.statistics import Estimate, describe, mean, paired_difference, proportion, win_rate
from music_envs.best_of_n.rollout import Rollout
from music_envs.scoring import checked_scores

__all__ = ["GradeComparison", "RolloutComparison", "compare_grades", "compare_rollouts"]
__all__ += ["grade_rollouts", "mean_grade", "write_judgements"]


@dataclass(frozen=True, slots=True)
class GradeComparison:
    """Two selectors over the same seeds, compared by grades.

    Attributes:
        difference: First minus second, paired by conversation.
        win_rate: How often the first is better; ties count half.
        num_ties: Conversations with equal grades.
        num_excluded: Conversations left out because at least one of the two failed.
    """

    difference: Estimate
    win_rate: Estimate
    num_ties: int
    num_excluded: int

    def __str__(self) -> str:
        """Return the result in one sentence."""
        return (
            f"difference {describe(self.difference)}; win rate {describe(self.win_rate, null=0.5)} "
            f"({self.num_ties} of {self.difference.num} tied)"
        )


def grade_rollouts(rollouts: Sequence[Rollout], grader: RewardFunction) -> list[float | None]:
    """Grade every conversation, all in one call; None for those that failed.

    Raises:
        InvalidInputError: The grader returned unusable scores.
    """
    sound = [rollout.conversation for rollout in rollouts if not rollout.is_failed]
    grades = iter(checked_scores(grader, sound) if sound else [])
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


def compare_grades(first: Sequence[float | None], second: Sequence[float | None]) -> GradeComparison:
    """Compare two lists of grades of the same seeds in the same order.

    Raises:
        InvalidInputError: The lists differ in length, or no conversation has a grade in both.
    """
    if len(first) != len(second):
        raise InvalidInputError(f"expected grades of the same seeds, got {len(first)} and {len(second)}")
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    if not pairs:
        raise InvalidInputError("expected at least one conversation that failed in neither list, got none")
    left, right = [a for a, _ in pairs], [b for _, b in pairs]
    num_ties = sum(a == b for a, b in pairs)
    return GradeComparison(paired_difference(left, right), win_rate(left, right), num_ties, len(first) - len(pairs))


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutComparison:
    """Two selectors over the same seeds, compared by a judge that reads both conversations.

    Attributes:
        win_rate: How often the first is better, over the seeds that were decided; ties count half.
        num_ties: Seeds on which neither is better, including identical conversations.
        num_identical: Seeds on which both selectors made the same conversation; the judge is not asked.
        num_undecided: Seeds left out because the judge did not decide in one of the orders.
        num_excluded: Seeds left out because one of the two conversations failed.
        judge: The judge, its reliability and its cost.
    """

    win_rate: Estimate
    num_ties: int
    num_identical: int
    num_undecided: int
    num_excluded: int
    judge: JudgeReport

    def __str__(self) -> str:
        """Return the result in words."""
        left_out = f"left out: {self.num_undecided} undecided, {self.num_excluded} failed"
        found = (
            f"win rate {describe(self.win_rate, null=0.5)} ({self.num_ties} of {self.win_rate.num} tied, "
            f"{self.num_identical} of them identical; {left_out})"
        )
        return "\n".join([found, *self.judge.lines()])


async def compare_rollouts(
    first: Sequence[Rollout],
    second: Sequence[Rollout],
    judge: PairwiseJudge,
    on_judged: Callable[[], None] = lambda: None,
) -> tuple[RolloutComparison, list[PairJudgement | None]]:
    """Let a judge compare two selectors' conversations, seed by seed.

    Args:
        first: Rollouts of the selector whose wins are counted.
        second: Those of the baseline, of the same seeds in the same order.
        judge: Compares two conversations.
        on_judged: Called after each seed.

    Returns:
        The result, and the judgement of each seed; None if one of the two conversations failed.

    Raises:
        BudgetReachedError: The judge's budget was spent before all were judged.
        EndpointUnreachableError: There is no server.
        MusicError: All judgements failed.
        InvalidInputError: No seed was decided.
    """

    async def judged(one: Rollout, other: Rollout) -> PairJudgement | None:
        if one.is_failed or other.is_failed:
            return None
        judgement = await judge.compare(one.conversation, other.conversation)
        on_judged()
        return judgement

    judgements = await gather_all(judged(one, other) for one, other in zip(first, second, strict=True))
    judge.model.require_whole()
    return _summary(judgements, judge), judgements


def _summary(judgements: Sequence[PairJudgement | None], judge: PairwiseJudge) -> RolloutComparison:
    made = [judgement for judgement in judgements if judgement is not None]
    scores = [judgement.score for judgement in made if judgement.score is not None]
    if not scores:
        raise InvalidInputError("expected at least one seed that the judge decides, got none")
    units = [str(index) for index, judgement in enumerate(judgements) if judgement is not None]
    figures = pairwise_figures(units, [{(0, 1): judgement} for judgement in made])
    return RolloutComparison(
        win_rate=proportion(scores, exact=True),
        num_ties=sum(score == 0.5 for score in scores),
        num_identical=sum(judgement.is_identical for judgement in made),
        num_undecided=len(made) - len(scores),
        num_excluded=len(judgements) - len(made),
        judge=JudgeReport.of(judge.model, figures),
    )


def write_judgements(path: Path, judgements: Sequence[PairJudgement | None]) -> None:
    """Write the judgement of each seed, one per line."""
    rows = (_row(index, judgement) for index, judgement in enumerate(judgements))
    path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))


def _row(index: int, judgement: PairJudgement | None) -> dict[str, object]:
    if judgement is None:
        return {"index": index, "score": None}
    orders = {"reward_first": judgement.forward, "baseline_first": judgement.backward}
    # Each answer is A for the conversation shown first, B, C for a tie, or the reason why there is none.
    answers = {
        order: [sample.problem if sample.value is None else sample.value for sample in samples]
        for order, samples in orders.items()
    }
    return {"index": index, "score": judgement.score, "is_identical": judgement.is_identical, **answers}
