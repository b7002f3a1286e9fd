"""`Mixture`: pairs from several sources, with weights."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from music.errors import InvalidInputError
from music.pairs import PreferencePair
from music.preferences import split_pairs
from music.reward.tokens.encoding import ConversationTokenizer
from music_trainers.reward.accounting import SourceAccounting
from music_trainers.reward.pairs.encoding import EncodedPair, encode_pairs
from music_trainers.reward.pairs.schedule import num_drawn

__all__ = ["Mixture", "PairSource", "encode_mixture"]


@dataclass(frozen=True, slots=True)
class PairSource:
    """Pairs that are weighted together.

    Attributes:
        name: For people to read.
        pairs: Of the source.
        weight: How often an epoch sees each pair, on average.
        margins: Margin of a pair by its id, where it has one; >= 0.
    """

    name: str
    pairs: Sequence[PreferencePair]
    weight: float = 1.0
    margins: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the weight and the margins."""
        if not 0 < self.weight <= 1000:
            raise InvalidInputError(f"{self.name}: expected a weight within (0, 1000], got {self.weight}")
        for id_, margin in self.margins.items():
            is_number = isinstance(margin, int | float) and not isinstance(margin, bool)
            if not (is_number and 0 <= margin < math.inf):
                raise InvalidInputError(
                    f"{self.name}: expected margins that are numbers >= 0, got {margin!r} (pair {id_})"
                )


@dataclass(frozen=True, slots=True)
class Mixture:
    """What a run learns from.

    Attributes:
        sources: At least one.
    """

    sources: tuple[PairSource, ...]

    @classmethod
    def of(cls, pairs: "Sequence[PreferencePair] | Mixture") -> "Mixture":
        """Return a mixture as it is, and plain pairs as one of a single source."""
        return pairs if isinstance(pairs, Mixture) else cls((PairSource("pairs", pairs),))

    @property
    def pairs(self) -> list[PreferencePair]:
        """The pairs of all sources, in order."""
        return [pair for source in self.sources for pair in source.pairs]

    def split(self, fraction: float, seed: int) -> "tuple[Mixture, list[PreferencePair]]":
        """Hold out about `fraction` of the pairs; whole seed conversations, whatever source they are in.

        Raises:
            InvalidInputError: See `split_pairs`.
        """
        held_out = split_pairs(self.pairs, fraction, seed).held_out
        return self._without(id(pair) for pair in held_out), list(held_out)

    def _without(self, left_out: Iterable[int]) -> "Mixture":
        """Return the mixture less the objects of these ids."""
        gone = set(left_out)
        return Mixture(
            tuple(replace(source, pairs=[p for p in source.pairs if id(p) not in gone]) for source in self.sources)
        )


def encode_mixture(
    tokens: ConversationTokenizer, mixture: Mixture, *, every_turn: bool
) -> tuple[list[EncodedPair], tuple[SourceAccounting, ...]]:
    """Tokenize the pairs of all sources, in order, with an account of each.

    Args:
        tokens: The path from messages to tokens.
        mixture: The sources.
        every_turn: Whether rewards are read after every assistant turn.
    """
    encoded: list[EncodedPair] = []
    accounts: list[SourceAccounting] = []
    for source in mixture.sources:
        pairs, accounting = encode_pairs(tokens, source.pairs, every_turn=every_turn, margins=source.margins)
        encoded += pairs
        accounts.append(
            SourceAccounting(
                name=source.name,
                weight=source.weight,
                pairs=accounting,
                num_drawn=num_drawn(len(pairs), source.weight),
                num_with_margin=sum(pair.margin != 0 for pair in pairs),
            )
        )
    return encoded, tuple(accounts)
