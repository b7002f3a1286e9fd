"""What became of what went into a run: pairs, their sources, and tokens. Each account says itself in one line."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from music.errors import InvalidInputError
from music_trainers.reward.config import RewardTrainingConfig

__all__ = ["PackingAccounting", "PairAccounting", "SourceAccounting", "require_pairs"]


class PairAccounting(BaseModel):
    """What became of the pairs that were read."""

    model_config = ConfigDict(frozen=True)

    num_read: int
    num_used: int
    num_truncated: int
    """Of those used, pairs of which a side lost its oldest exchanges to fit `max_length`."""
    num_dropped: dict[str, int] = {}
    """By reason: a side is `over_long`, `template_refused`, `tool_calls_not_rendered` or `reward_token_missing`, or
    both are `identical_as_tokens` or became `identical_after_truncation`."""

    def __str__(self) -> str:
        """Say it in one line."""
        dropped = ", ".join(f"{n} {reason}" for reason, n in sorted(self.num_dropped.items())) or "none"
        return f"{self.num_read} read, {self.num_used} used ({self.num_truncated} truncated), dropped: {dropped}"

    def __add__(self, other: "PairAccounting") -> "PairAccounting":
        """Add up two accounts."""
        reasons = self.num_dropped.keys() | other.num_dropped.keys()
        return PairAccounting(
            num_read=self.num_read + other.num_read,
            num_used=self.num_used + other.num_used,
            num_truncated=self.num_truncated + other.num_truncated,
            num_dropped={r: self.num_dropped.get(r, 0) + other.num_dropped.get(r, 0) for r in sorted(reasons)},
        )


class SourceAccounting(BaseModel):
    """What a source gives to a run."""

    model_config = ConfigDict(frozen=True)

    name: str
    weight: float
    pairs: PairAccounting
    num_drawn: int
    """Pairs of it in an epoch."""
    num_with_margin: int
    """Of the pairs used, those with a margin of their own."""

    def __str__(self) -> str:
        """Say it in one line."""
        margins = f", {self.num_with_margin} with a margin" if self.num_with_margin else ""
        return f"{self.name}: {self.pairs}; weight {self.weight:g}, {self.num_drawn} an epoch{margins}"


class PackingAccounting(BaseModel):
    """What packing came to in the steps so far."""

    model_config = ConfigDict(frozen=True)

    num_sequence_tokens: int = 0
    """Tokens of all sides, shared ones as often as they are shared."""
    num_tokens: int = 0
    """Tokens that were computed."""
    num_slots: int = 0
    """Tokens that would have been computed if all rows of a step were as long as its longest."""

    @property
    def fill(self) -> float:
        """How even the rows of a step are; 1 if all are equally long."""
        return self.num_tokens / self.num_slots if self.num_slots else 1.0

    @property
    def saved(self) -> float:
        """Share of the tokens that sharing spared."""
        return 1 - self.num_tokens / self.num_sequence_tokens if self.num_sequence_tokens else 0.0

    def __add__(self, other: "PackingAccounting") -> "PackingAccounting":
        """Add up two accounts."""
        return PackingAccounting(
            num_sequence_tokens=self.num_sequence_tokens + other.num_sequence_tokens,
            num_tokens=self.num_tokens + other.num_tokens,
            num_slots=self.num_slots + other.num_slots,
        )

    def __str__(self) -> str:
        """Say it in one line."""
        return (
            f"{self.num_tokens:,} tokens computed for {self.num_sequence_tokens:,} "
            f"({self.saved:.1%} saved by sharing), rows {self.fill:.1%} full"
        )


def require_pairs(
    config: RewardTrainingConfig, pairs: PairAccounting, sources: Sequence[SourceAccounting], held_out: PairAccounting
) -> None:
    """Refuse a run without pairs for what it is to do.

    Raises:
        InvalidInputError: None is left to learn from or to measure on, or they have margins that would be ignored.
    """
    if not pairs.num_used:
        raise InvalidInputError(f"no pair is left to train on: {pairs}")
    if not any(source.num_drawn for source in sources):
        raise InvalidInputError(f"no pair is drawn in an epoch, give larger weights: {'; '.join(map(str, sources))}")
    if held_out.num_read and not held_out.num_used:
        raise InvalidInputError(f"no held-out pair is left to measure on: {held_out}")
    if config.patience and not held_out.num_used:
        raise InvalidInputError("patience counts evaluations on held-out pairs: give some (--eval or --eval-fraction)")
    if config.objective.ranking == "groups" and any(source.num_with_margin for source in sources):
        raise InvalidInputError("ranking by groups knows no margins: leave them out (--margin-column), or rank pairs")
