"""Reports of the scores of many conversations or pairs, with counts of those without a score."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from music.conversation import Conversation
from music.pairs import PreferencePair
from music.reward.model import RewardModel
from music.reward.tokens.contract import Scored

__all__ = ["ScoreReport", "report_conversations", "report_pairs"]


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
    rows = [{"index": index} | _row(s, per_turn=per_turn) for index, s in enumerate(scored)]
    lines = [f"{index}: {_text(s)}" for index, s in enumerate(scored)]
    counts = _counts([(s,) for s in scored])
    summary = {"readout": model.contract.readout, "num_conversations": len(scored)} | counts
    return ScoreReport(rows, summary, "\n".join([*lines, _counts_text("conversations", counts)]))


def report_pairs(model: RewardModel, pairs: Sequence[PreferencePair], *, per_turn: bool = False) -> ScoreReport:
    """Rank pairs. A tie is not a win. If a side has no score, the pair is counted but not ranked."""
    sides = [side for pair in pairs for side in (pair.chosen, pair.rejected)]
    scored = model.score_each(sides, per_turn=per_turn)
    both = list(zip(scored[::2], scored[1::2], strict=True))
    rows = [
        {"id": pair.id, "chosen": _row(better, per_turn=per_turn), "rejected": _row(worse, per_turn=per_turn)}
        for pair, (better, worse) in zip(pairs, both, strict=True)
    ]
    margins = [b.score - w.score for b, w in both if b.score is not None and w.score is not None]
    summary: dict[str, Any] = {
        "readout": model.contract.readout,
        "num_pairs": len(pairs),
        "num_ranked": len(margins),
        "accuracy": sum(m > 0 for m in margins) / len(margins) if margins else None,
        "num_ties": sum(m == 0 for m in margins),
        "mean_margin": sum(margins) / len(margins) if margins else None,
    }
    if per_turn:
        summary |= _by_turn(pairs, both)
    counts = _counts(both)
    text = "\n".join(f"{name}: {_format(value)}" for name, value in summary.items())
    return ScoreReport(rows, summary | counts, f"{text}\n{_counts_text('pairs', counts)}")


def _row(scored: Scored, *, per_turn: bool) -> dict[str, Any]:
    dropped, problem = scored.num_dropped_turns, scored.problem
    row: dict[str, Any] = {"score": scored.score, "num_dropped_turns": dropped, "problem": problem}
    return row | {"turns": list(scored.turns)} if per_turn else row


def _by_turn(pairs: Sequence[PreferencePair], both: Sequence[tuple[Scored, Scored]]) -> dict[str, Any]:
    """Return the number of ranked pairs and the accuracy at each turn.

    A pair is ranked at a turn if both sides have that turn and differ up to its end.
    """
    margins: defaultdict[int, list[float]] = defaultdict(list)
    for pair, (better, worse) in zip(pairs, both, strict=True):
        for turn, (b, w) in enumerate(zip(better.turns, worse.turns, strict=False)):
            end = pair.chosen.turn_ends[turn]
            if pair.chosen.prefix(end) != pair.rejected.prefix(end):
                margins[turn].append(b - w)
    columns = [margins[turn] for turn in range(max(margins, default=-1) + 1)]
    return {
        "num_ranked_by_turn": [len(column) for column in columns],
        "accuracy_by_turn": [sum(m > 0 for m in column) / len(column) if column else None for column in columns],
    }


def _counts(items: Sequence[Sequence[Scored]]) -> dict[str, Any]:
    """Count the items with a truncated part, and by reason those with a part without a score."""
    problems = [next((s.problem for s in item if s.problem), None) for item in items]
    return {
        "num_truncated": sum(any(s.num_dropped_turns for s in item) for item in items),
        "num_unscorable": dict(Counter(problem for problem in problems if problem)),
    }


def _counts_text(what: str, counts: Mapping[str, Any]) -> str:
    unscorable = ", ".join(f"{n} {problem}" for problem, n in counts["num_unscorable"].items()) or "none"
    return f"{what} truncated: {counts['num_truncated']}, without a score: {unscorable}"


def _text(scored: Scored) -> str:
    if scored.score is None:
        return f"no score ({scored.problem})"
    return " ".join(f"{score:.4f}" for score in scored.turns or (scored.score,))


def _format(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_format, value))
    return f"{value:.4f}" if isinstance(value, float) else str(value)
