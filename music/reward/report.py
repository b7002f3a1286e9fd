"""What a reward model makes of many conversations or pairs, with an account of those that it cannot score."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from music.conversation import Conversation
from music.pairs import PreferencePair
from music.preferences.sources import iter_rows
from music.reward.model import RewardModel
from music.reward.tokens import Encoding, Unscorable

__all__ = ["ScoreReport", "Scored", "is_conversation_file", "report_conversations", "report_pairs", "score_all"]


@dataclass(frozen=True, slots=True)
class Scored:
    """One conversation's scores.

    Attributes:
        scores: One in all, or one per assistant turn; empty if there is a problem.
        num_dropped_turns: Oldest exchanges that the score does not see.
        problem: Why there is no score.
    """

    scores: tuple[float, ...]
    num_dropped_turns: int = 0
    problem: Unscorable | None = None


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """Scores of a file.

    Attributes:
        rows: One JSON object per row of the file, in its order.
        summary: Figures over the file.
        text: Both for people.
    """

    rows: list[dict[str, Any]]
    summary: dict[str, Any]
    text: str


def is_conversation_file(source: str) -> bool:
    """Tell conversations (rows with `messages`) from preference pairs by the first row."""
    first = next(iter(iter_rows(source, split="train")), None)
    return first is not None and isinstance(first.content, dict) and "messages" in first.content


def score_all(model: RewardModel, conversations: Sequence[Conversation], *, per_turn: bool) -> list[Scored]:
    """Score conversations; those that have no score say why."""
    seen = [[c.prefix(end) for end in (c.turn_ends if per_turn else c.turn_ends[-1:])] for c in conversations]
    encodings = iter(model.tokens.encode([prefix for prefixes in seen for prefix in prefixes]))
    outcomes = [list(islice(encodings, len(prefixes))) for prefixes in seen]
    problems = [next((e for e in outcome if isinstance(e, Unscorable)), None) for outcome in outcomes]
    usable = [c for c, problem in zip(conversations, problems, strict=True) if problem is None]
    scores = iter(model.score_turns(usable) if per_turn else [[score] for score in model.score(usable)])
    return [
        Scored((), problem=problem) if problem else Scored(tuple(next(scores)), _num_dropped_turns(outcome))
        for outcome, problem in zip(outcomes, problems, strict=True)
    ]


def report_conversations(
    model: RewardModel, conversations: Sequence[Conversation], *, per_turn: bool = False
) -> ScoreReport:
    """Score conversations one by one."""
    scored = score_all(model, conversations, per_turn=per_turn)
    rows = [{"index": index} | _row(s, per_turn=per_turn) for index, s in enumerate(scored)]
    lines = [f"{index}: {_text(s)}" for index, s in enumerate(scored)]
    summary = {"num_conversations": len(scored)} | _account(scored)
    return ScoreReport(rows, summary, "\n".join([*lines, _account_text(scored)]))


def report_pairs(model: RewardModel, pairs: Sequence[PreferencePair], *, per_turn: bool = False) -> ScoreReport:
    """Rank pairs. A tie is not a win; pairs with an unscorable side are counted, not ranked."""
    sides = [side for pair in pairs for side in (pair.chosen, pair.rejected)]
    scored = score_all(model, sides, per_turn=per_turn)
    both = list(zip(scored[::2], scored[1::2], strict=True))
    rows = [
        {"id": pair.id, "chosen": _row(better, per_turn=per_turn), "rejected": _row(worse, per_turn=per_turn)}
        for pair, (better, worse) in zip(pairs, both, strict=True)
    ]
    margins = [b.scores[-1] - w.scores[-1] for b, w in both if not (b.problem or w.problem)]
    summary: dict[str, Any] = {
        "num_pairs": len(pairs),
        "num_ranked": len(margins),
        "accuracy": sum(m > 0 for m in margins) / len(margins) if margins else None,
        "num_ties": sum(m == 0 for m in margins),
        "mean_margin": sum(margins) / len(margins) if margins else None,
    }
    if per_turn:
        summary["accuracy_by_turn"] = _accuracy_by_turn(both)
    text = "\n".join(f"{name}: {_figure(value)}" for name, value in summary.items())
    return ScoreReport(rows, summary | _account(scored), f"{text}\n{_account_text(scored)}")


def _num_dropped_turns(outcome: Sequence[Encoding | Unscorable]) -> int:
    """Return the exchanges that the last of a conversation's scores does not see."""
    last = outcome[-1]
    return last.num_dropped_turns if isinstance(last, Encoding) else 0


def _row(scored: Scored, *, per_turn: bool) -> dict[str, Any]:
    score = scored.scores[-1] if scored.scores else None
    row: dict[str, Any] = {"score": score, "num_dropped_turns": scored.num_dropped_turns, "problem": scored.problem}
    return row | {"turns": list(scored.scores)} if per_turn else row


def _accuracy_by_turn(both: Sequence[tuple[Scored, Scored]]) -> list[float]:
    """Return, for each turn from the first, the accuracy over the pairs whose sides both have that turn."""
    margins = [[b - w for b, w in zip(better.scores, worse.scores, strict=False)] for better, worse in both]
    turns = range(max(map(len, margins), default=0))
    at_turn = [[row[turn] for row in margins if len(row) > turn] for turn in turns]
    return [sum(m > 0 for m in column) / len(column) for column in at_turn]


def _account(scored: Sequence[Scored]) -> dict[str, Any]:
    """Count the conversations that were truncated or have no score."""
    return {
        "num_truncated": sum(s.num_dropped_turns > 0 for s in scored),
        "num_unscorable": dict(Counter(s.problem for s in scored if s.problem)),
    }


def _account_text(scored: Sequence[Scored]) -> str:
    account = _account(scored)
    unscorable = ", ".join(f"{n} {problem}" for problem, n in account["num_unscorable"].items()) or "none"
    return f"conversations truncated: {account['num_truncated']}, without a score: {unscorable}"


def _text(scored: Scored) -> str:
    if scored.problem:
        return f"no score ({scored.problem})"
    return " ".join(f"{score:.4f}" for score in scored.scores)


def _figure(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_figure, value))
    return f"{value:.4f}" if isinstance(value, float) else str(value)
