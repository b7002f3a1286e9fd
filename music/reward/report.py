"""Reports of the scores of many conversations or pairs, with counts of those without a score."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from music.conversation import Conversation
from music.pairs import PreferencePair
from music.reward.model import RewardModel
from music.reward.summaries import ConversationSummary, PairSummary, num_shared_turns
from music.reward.tokens.contract import Scored

__all__ = ["ScoreReport", "report_conversations", "report_pairs", "score_row"]


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """Scores of a file.

    Attributes:
        rows: One JSON object per row of the file, in its order.
        summary: Statistics of the whole file.
        text: Rows and summary as readable text.
    """

    rows: list[dict[str, Any]]
    summary: dict[str, Any]
    text: str


def report_conversations(
    model: RewardModel, conversations: Sequence[Conversation], *, per_turn: bool = False
) -> ScoreReport:
    """Score conversations, one row for each."""
    scored = model.score_each(conversations, per_turn=per_turn)
    rows = [{"index": index} | score_row(s, per_turn=per_turn) for index, s in enumerate(scored)]
    lines = [f"{index}: {_text(s)}" for index, s in enumerate(scored)]
    summary = ConversationSummary(model.contract.readout)
    for each in scored:
        summary.add(each)
    return ScoreReport(rows, summary.result(), "\n".join([*lines, summary.text()]))


def report_pairs(model: RewardModel, pairs: Sequence[PreferencePair], *, per_turn: bool = False) -> ScoreReport:
    """Rank pairs. A tie is not a win. If a side has no score, the pair is counted but not ranked."""
    sides = [side for pair in pairs for side in (pair.chosen, pair.rejected)]
    scored = model.score_each(sides, per_turn=per_turn)
    both = list(zip(scored[::2], scored[1::2], strict=True))
    rows = [
        {"id": pair.id, "chosen": score_row(better, per_turn=per_turn), "rejected": score_row(worse, per_turn=per_turn)}
        for pair, (better, worse) in zip(pairs, both, strict=True)
    ]
    summary = PairSummary(model.contract.readout, per_turn=per_turn)
    for pair, (better, worse) in zip(pairs, both, strict=True):
        summary.add(better, worse, num_shared_turns(pair))
    return ScoreReport(rows, summary.result(), summary.text())


def score_row(scored: Scored, *, per_turn: bool) -> dict[str, Any]:
    """Return a score, or why there is none, as an object."""
    dropped, problem = scored.num_dropped_turns, scored.problem
    row: dict[str, Any] = {"score": scored.score, "num_dropped_turns": dropped, "problem": problem}
    return row | {"turns": list(scored.turns)} if per_turn else row


def _text(scored: Scored) -> str:
    if scored.score is None:
        return f"no score ({scored.problem})"
    return " ".join(f"{score:.4f}" for score in scored.turns or (scored.score,))
