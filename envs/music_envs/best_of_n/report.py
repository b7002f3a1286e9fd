"""`SelectorReport`: the results of Best-of-N with one selector, and their tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from music.pairs import Usage
from music.statistics import Estimate, mean
from music_envs.best_of_n.by_n import ScoreByN
from music_envs.best_of_n.comparison import mean_grade
from music_envs.best_of_n.rollout import Rollout

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["SelectorReport", "by_n_table", "remarks", "report_selector", "selectors_table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectorReport:
    """One selector's conversations.

    Attributes:
        selector: Its name.
        reward: Mean of the selector's own scores of its conversations.
        grade: Mean grade by the judge; None without one.
        usage: Of all calls, including those for candidates that were not kept.
        num_conversations: All of them, including failed ones.
        num_failed: Conversations that ended with an error; they count only in the usage.
        failures: Why, each reason with the number of its conversations.
        num_cut: Replies that were cut at the limit of tokens.
        num_candidates: Candidates that were scored, over all choices.
        num_identical: Candidates that repeat an earlier one of the same choice.
        by_n: The value of the best of n; empty if the strategy's candidates do not allow an estimate.
    """

    selector: str
    reward: Estimate
    grade: Estimate | None
    usage: Usage
    num_conversations: int
    num_failed: int
    failures: dict[str, int]
    num_cut: int
    num_candidates: int
    num_identical: int
    by_n: tuple[ScoreByN, ...] = ()


def report_selector(
    selector: str,
    rollouts: Sequence[Rollout],
    grades: Sequence[float | None] | None,
    by_n: Sequence[ScoreByN],
) -> SelectorReport:
    """Summarise one selector's rollouts, of which at least one did not fail."""
    decisions = [decision for rollout in rollouts for decision in rollout.decisions]
    last = [rollout.decisions[-1] for rollout in rollouts if not rollout.is_failed]
    return SelectorReport(
        selector=selector,
        reward=mean([decision.scores[decision.chosen] for decision in last]),
        grade=mean_grade(grades) if grades else None,
        usage=sum((rollout.usage for rollout in rollouts), Usage()),
        num_conversations=len(rollouts),
        num_failed=sum(rollout.is_failed for rollout in rollouts),
        failures=dict(Counter(rollout.error for rollout in rollouts if rollout.is_failed)),
        num_cut=sum(rollout.num_cut for rollout in rollouts),
        num_candidates=sum(len(decision.candidates) for decision in decisions),
        num_identical=sum(decision.num_identical for decision in decisions),
        by_n=tuple(by_n),
    )


def remarks(arm: SelectorReport) -> list[str]:
    """Return what a reader of the tables must know: failures, cut replies, and candidates that are identical."""
    found = [
        f"{arm.selector}: {num} of {arm.num_conversations} conversations failed: {reason}"
        for reason, num in sorted(arm.failures.items(), key=lambda item: -item[1])
    ]
    if arm.num_cut:
        found.append(
            f"{arm.selector}: {arm.num_cut:,} replies were cut at the limit of tokens, and used as they are: raise "
            "--max-reply-tokens, or --option user.max_tokens for the user"
        )
    if arm.num_identical:
        found.append(
            f"{arm.selector}: {arm.num_identical:,} of {arm.num_candidates:,} candidates repeat another one of the "
            "same choice; a higher --temperature gives more that differ"
        )
    return found


def selectors_table(title: str, judge: str | None, arms: Sequence[SelectorReport]) -> Table:
    """Lay out all selectors, one per row."""
    is_graded = any(arm.grade for arm in arms)
    headings = ("selector", "its reward", *((f"grade by {judge}",) if is_graded else ()), "calls", "tokens", "failed")
    rows = [
        (
            arm.selector,
            f"{arm.reward.value:.3f}",
            *((str(arm.grade or "-"),) if is_graded else ()),
            f"{arm.usage.num_calls / arm.num_conversations:,.1f}",
            f"{arm.usage.num_tokens / arm.num_conversations:,.1f}",
            str(arm.num_failed),
        )
        for arm in arms
    ]
    return _table(f"{title}\n95% intervals; calls and tokens per conversation", headings, rows)


def by_n_table(arm: SelectorReport, judge: str | None) -> Table:
    """Lay out the value of the best of n, one n per row."""
    is_graded = any(row.grade for row in arm.by_n)
    headings = ("n", "KL", "reward", *((f"grade by {judge}", "gap") if is_graded else ()))
    rows = [
        (
            str(row.num_candidates),
            f"{row.divergence:.2f}",
            str(row.reward),
            *((str(row.grade or "-"), str(row.gap or "-")) if is_graded else ()),
        )
        for row in arm.by_n
    ]
    return _table(f"{arm.selector}: the best of n at one choice", headings, rows)


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table of plain text that fits into 80 columns."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
