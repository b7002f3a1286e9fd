"""`ConversationSummary` and `PairSummary`: statistics of scores, which are added one by one."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from music.pairs import PreferencePair
from music.reward.tokens.contract import Scored, Unscorable

__all__ = ["ConversationSummary", "PairSummary", "num_shared_turns"]


class _Counts:
    """Counts the items with a truncated part, and by reason those with a part without a score."""

    def __init__(self) -> None:
        self._num_truncated = 0
        self._problems: Counter[Unscorable] = Counter()

    def add(self, *parts: Scored) -> None:
        self._num_truncated += any(part.num_dropped_turns for part in parts)
        problem = next((part.problem for part in parts if part.problem), None)
        self._problems.update([problem] if problem else [])

    def result(self) -> dict[str, Any]:
        return {"num_truncated": self._num_truncated, "num_unscorable": dict(self._problems)}

    def text(self, what: str) -> str:
        unscorable = ", ".join(f"{num} {problem}" for problem, num in self._problems.items()) or "none"
        return f"{what} truncated: {self._num_truncated}, without a score: {unscorable}"


class ConversationSummary:
    """Statistics of the scores of conversations.

    Args:
        readout: The readout of the scores.
    """

    def __init__(self, readout: str) -> None:
        self._readout = readout
        self._num = 0
        self._counts = _Counts()

    def add(self, scored: Scored) -> None:
        """Add the score of a conversation."""
        self._num += 1
        self._counts.add(scored)

    def result(self) -> dict[str, Any]:
        """Return the statistics by name."""
        return {"readout": self._readout, "num_conversations": self._num} | self._counts.result()

    def text(self) -> str:
        """Return them as readable text."""
        return self._counts.text("conversations")


class PairSummary:
    """Statistics of the scores of pairs. A tie is not a win. If a side has no score, the pair is not ranked.

    Args:
        readout: The readout of the scores.
        per_turn: Whether pairs are ranked at each turn, too.
    """

    def __init__(self, readout: str, *, per_turn: bool) -> None:
        self._readout, self._per_turn = readout, per_turn
        self._num_pairs = 0
        self._ranking = _Ranking()
        self._by_turn: list[_Ranking] = []
        self._counts = _Counts()

    def add(self, better: Scored, worse: Scored, num_shared: int = 0) -> None:
        """Add the scores of the chosen and the rejected side, which have the first `num_shared` turns in common.

        A pair is ranked at a turn if both sides have that turn and differ up to its end.
        """
        self._num_pairs += 1
        self._counts.add(better, worse)
        if better.score is not None and worse.score is not None:
            self._ranking.add(better.score - worse.score)
        for turn, (b, w) in enumerate(zip(better.turns, worse.turns, strict=False)):
            if turn >= num_shared:
                self._by_turn += [_Ranking() for _ in range(len(self._by_turn), turn + 1)]
                self._by_turn[turn].add(b - w)

    def result(self) -> dict[str, Any]:
        """Return the statistics by name."""
        return self._ranks() | self._counts.result()

    def text(self) -> str:
        """Return them as readable text."""
        ranks = "\n".join(f"{name}: {_format(value)}" for name, value in self._ranks().items())
        return f"{ranks}\n{self._counts.text('pairs')}"

    def _ranks(self) -> dict[str, Any]:
        whole = self._ranking
        ranks: dict[str, Any] = {
            "readout": self._readout,
            "num_pairs": self._num_pairs,
            "num_ranked": whole.num,
            "accuracy": whole.accuracy,
            "num_ties": whole.num_ties,
            "mean_margin": whole.total / whole.num if whole.num else None,
        }
        if self._per_turn:
            ranks["num_ranked_by_turn"] = [ranking.num for ranking in self._by_turn]
            ranks["accuracy_by_turn"] = [ranking.accuracy for ranking in self._by_turn]
        return ranks


class _Ranking:
    """Counts of margins."""

    def __init__(self) -> None:
        self.num = self.num_ties = self._num_wins = 0
        self.total = 0.0

    @property
    def accuracy(self) -> float | None:
        return self._num_wins / self.num if self.num else None

    def add(self, margin: float) -> None:
        self.num += 1
        self._num_wins += margin > 0
        self.num_ties += margin == 0
        self.total += margin


def num_shared_turns(pair: PreferencePair) -> int:
    """Return the number of assistant turns up to whose end both sides of a pair are equal."""
    ends: Sequence[int] = pair.chosen.turn_ends
    both = zip(pair.chosen.messages, pair.rejected.messages, strict=False)
    num_equal = next((place for place, (one, other) in enumerate(both) if one != other), None)
    if num_equal is None:  # one side is the beginning of the other
        num_equal = min(len(pair.chosen.messages), len(pair.rejected.messages))
    return sum(end <= num_equal for end in ends)


def _format(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_format, value))
    return f"{value:.4f}" if isinstance(value, float) else str(value)
