"""Judging by a language model: which selector's conversations are better, both orders, ties counted half."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import orjson

from music.aio import gather_all
from music.cli import counted
from music.errors import InvalidInputError
from music.judges.judgement import Judgement
from music.judges.model import open_judge_model
from music.judges.pairwise import PairJudgement, PairwiseJudge
from music.judges.reliability import pairwise_figures
from music.judges.report import JudgeReport
from music.judges.settings import JudgeSettings, read_judge
from music.prompts import Choice
from music.statistics import Estimate, describe, mean
from music_envs.best_of_n.rollout import Rollout

__all__ = ["JudgedArms", "find_judge", "judge_arms", "judge_by_model", "write_judgements"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedArms:
    """Two selectors over the same seeds, as a judge compares their conversations.

    Attributes:
        win_rate: How often the first is better, a tie counted half, over the seeds that were decided.
        num_ties: Seeds on which neither is ahead, identical conversations included.
        num_identical: Seeds on which both selectors made the same conversation; the judge is not asked.
        num_undecided: Seeds left out because the judge came to no decision in one of the orders.
        num_excluded: Seeds left out because one of the two conversations failed.
        judge: Who judged, how far it can be trusted, and what it cost.
    """

    win_rate: Estimate
    num_ties: int
    num_identical: int
    num_undecided: int
    num_excluded: int
    judge: JudgeReport

    def __str__(self) -> str:
        """Return the finding in words."""
        left_out = f"left out: {self.num_undecided} undecided, {self.num_excluded} failed"
        found = (
            f"win rate {describe(self.win_rate, null=0.5)} ({self.num_ties} of {self.win_rate.num} tied, "
            f"{self.num_identical} of them identical; {left_out})"
        )
        return "\n".join([found, *self.judge.lines()])


async def judge_arms(
    first: Sequence[Rollout],
    second: Sequence[Rollout],
    judge: PairwiseJudge,
    on_judged: Callable[[], None] = lambda: None,
) -> tuple[JudgedArms, list[PairJudgement | None]]:
    """Compare what two selectors made of the same seeds, in the same order.

    Args:
        first: Whose wins are counted.
        second: The baseline's.
        judge: Who compares.
        on_judged: Called after each seed.

    Returns:
        The finding, and the judgement of each seed; None where one of the two conversations failed.

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

    said = await gather_all(judged(one, other) for one, other in zip(first, second, strict=True))
    judge.model.require_whole()
    return _summary(said, judge), said


def find_judge(name: str | None, baseline: str | None) -> str | None:
    """Return the endpoint of a judge who compares; None where a reward grades, or nobody does.

    Raises:
        InvalidInputError: There is nothing to compare with.
    """
    found = read_judge(name) if name else None
    if found and baseline is None:
        raise InvalidInputError(f"--judge {name}: expected --baseline too, as this judge compares two selectors")
    return found[1] if found else None


async def judge_by_model(
    arms: Sequence[Sequence[Rollout]], endpoint: str, settings: JudgeSettings, out: Path | None
) -> JudgedArms:
    """Compare two arms by the model behind an endpoint, with a progress display.

    Args:
        arms: The selector's and the baseline's.
        endpoint: As `load_model` reads it.
        settings: How the judge is asked.
        out: Folder for the judge's replies (`judge.sqlite`), kept as they come, and `judgements.jsonl`.

    Raises:
        MusicError: As for `judge_arms`, or the judge cannot be opened.
    """
    async with open_judge_model(endpoint, settings, out and out / "judge.sqlite") as model:
        with counted("conversations judged", len(arms[0])) as advance:
            found, judgements = await judge_arms(arms[0], arms[1], PairwiseJudge(model), partial(advance, 1))
    if out is not None:
        write_judgements(out / "judgements.jsonl", judgements)
    return found


def write_judgements(path: Path, judgements: Sequence[PairJudgement | None]) -> None:
    """Write what was said of each seed, one a line."""
    rows = (_row(index, judgement) for index, judgement in enumerate(judgements))
    path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))


def _summary(said: Sequence[PairJudgement | None], judge: PairwiseJudge) -> JudgedArms:
    judgements = [each for each in said if each is not None]
    scores = [each.score for each in judgements if each.score is not None]
    if not scores:
        raise InvalidInputError("expected at least one seed that the judge decides, got none")
    units = [str(index) for index, each in enumerate(said) if each is not None]
    figures = pairwise_figures(units, [{(0, 1): each} for each in judgements])
    return JudgedArms(
        win_rate=mean(scores),
        num_ties=sum(score == 0.5 for score in scores),
        num_identical=sum(each.is_identical for each in judgements),
        num_undecided=len(judgements) - len(scores),
        num_excluded=len(said) - len(judgements),
        judge=JudgeReport.of(judge.model, figures),
    )


def _row(index: int, judgement: PairJudgement | None) -> dict[str, object]:
    if judgement is None:
        return {"index": index, "score": None}
    orders = {"reward_first": judgement.forward, "baseline_first": judgement.backward}
    said = {order: [_said(each) for each in samples] for order, samples in orders.items()}
    return {"index": index, "score": judgement.score, "is_identical": judgement.is_identical, **said}


def _said(judgement: Judgement[Choice]) -> str | None:
    """Return A for the one shown first, B, C for a tie, or why there is nothing."""
    return judgement.problem if judgement.value is None else judgement.value
