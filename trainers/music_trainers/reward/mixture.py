"""The pairs of a run: `Mixture`, pairs from several sources with weights; `TrainingData`, all pairs as tokens."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add

from music.errors import InvalidInputError
from music.pairs import ContrastivePair, PreferencePair
from music.preferences import split_pairs
from music.reward.tokens.encoding import ConversationTokenizer
from music_trainers.reward.config import RewardTrainingConfig
from music_trainers.reward.pairs import EncodedPair, encode_pairs
from music_trainers.reward.records import PairAccounting, SourceAccounting
from music_trainers.reward.schedule import num_drawn

__all__ = ["Mixture", "PairSource", "TrainingData", "check_exchanged", "check_overlap"]


@dataclass(frozen=True, slots=True)
class PairSource:
    """Pairs that share one weight.

    Attributes:
        name: Name for people to read.
        pairs: The pairs.
        weight: How often an epoch sees each pair, on average.
        margins: Margins >= 0 by the id of the pair; 0 for pairs that are not in it.
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
    """Training pairs from several sources.

    Attributes:
        sources: At least one source.
    """

    sources: tuple[PairSource, ...]

    @classmethod
    def of(cls, pairs: "Sequence[PreferencePair] | Mixture") -> "Mixture":
        """Return a mixture unchanged, or plain pairs as a mixture of one source."""
        return pairs if isinstance(pairs, Mixture) else cls((PairSource("pairs", pairs),))

    @property
    def pairs(self) -> list[PreferencePair]:
        """The pairs of all sources, in order."""
        return [pair for source in self.sources for pair in source.pairs]

    def split(self, fraction: float, seed: int) -> "tuple[Mixture, list[PreferencePair]]":
        """Hold out about `fraction` of the pairs, as whole seed conversations across all sources.

        Raises:
            InvalidInputError: See `split_pairs`.
        """
        held_out = split_pairs(self.pairs, fraction, seed).held_out
        taken = {id(pair) for pair in held_out}
        rest = (replace(source, pairs=[p for p in source.pairs if id(p) not in taken]) for source in self.sources)
        return Mixture(tuple(rest)), list(held_out)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The pairs of a run as tokens, with an account of all pairs that were read.

    Attributes:
        train: The training pairs, source by source.
        held_out: The held-out pairs.
        sources: Accounts of the training pairs, by source.
        held_out_accounting: Account of the held-out pairs.
    """

    train: list[EncodedPair]
    held_out: list[EncodedPair]
    sources: tuple[SourceAccounting, ...]
    held_out_accounting: PairAccounting

    @classmethod
    def encode(
        cls,
        tokens: ConversationTokenizer,
        mixture: Mixture,
        eval_pairs: Sequence[PreferencePair],
        *,
        every_turn: bool = False,
    ) -> "TrainingData":
        """Tokenize the pairs of all sources, in order, and the held-out pairs.

        Args:
            tokens: The path from messages to tokens.
            mixture: The sources.
            eval_pairs: The held-out pairs.
            every_turn: Whether rewards are read after every assistant turn.
        """
        train: list[EncodedPair] = []
        sources: list[SourceAccounting] = []
        for source in mixture.sources:
            pairs, accounting = encode_pairs(tokens, source.pairs, every_turn=every_turn, margins=source.margins)
            train += pairs
            sources.append(
                SourceAccounting(
                    name=source.name,
                    weight=source.weight,
                    pairs=accounting,
                    num_drawn=num_drawn(len(pairs), source.weight),
                    num_with_margin=sum(pair.margin != 0 for pair in pairs),
                )
            )
        held_out, held_out_accounting = encode_pairs(tokens, eval_pairs, every_turn=every_turn)
        return cls(train, held_out, tuple(sources), held_out_accounting)

    @property
    def accounting(self) -> PairAccounting:
        """The account of all training pairs."""
        return reduce(add, [source.pairs for source in self.sources])

    def require_pairs(self, config: RewardTrainingConfig) -> None:
        """Refuse a run that lacks the pairs it needs.

        Raises:
            InvalidInputError: No pair is left to train on or to measure on, or margins would be ignored.
        """
        if not self.train:
            raise InvalidInputError(f"no pair is left to train on: {self.accounting}")
        if not any(source.num_drawn for source in self.sources):
            listed = "; ".join(map(str, self.sources))
            raise InvalidInputError(f"no pair is drawn in an epoch, give larger weights: {listed}")
        if self.held_out_accounting.num_read and not self.held_out:
            raise InvalidInputError(f"no held-out pair is left to measure on: {self.held_out_accounting}")
        if config.patience and not self.held_out:
            raise InvalidInputError(
                "patience counts evaluations on held-out pairs: give some (--eval or --eval-fraction)"
            )
        if config.objective.ranking == "groups" and any(source.num_with_margin for source in self.sources):
            raise InvalidInputError(
                "ranking by groups does not use margins: leave them out (--margin-column), or rank pairs"
            )


def check_overlap(training: Iterable[PreferencePair], held_out: Sequence[PreferencePair]) -> str | None:
    """Look for held-out pairs that are also training pairs: figures on those measure memory.

    Pairs are equal if the messages of their sides are; ids and files do not count.

    Returns:
        A sentence for the user if some held-out pairs are training pairs.

    Raises:
        InvalidInputError: All of them are.
    """
    known = {_content(pair) for pair in training}
    num_shared = sum(_content(pair) in known for pair in held_out)
    if held_out and num_shared == len(held_out):
        raise InvalidInputError(
            f"--eval: expected pairs that are not trained on, but all {num_shared} held-out pairs are training pairs "
            "too: give other pairs, or leave --eval out to hold out a share of the training pairs (--eval-fraction)"
        )
    if not num_shared:
        return None
    return (
        f"{num_shared} of {len(held_out)} held-out pairs (--eval) are training pairs too: held-out figures are better "
        "than on new pairs"
    )


def check_exchanged(held_out: Iterable[PreferencePair]) -> str | None:
    """Look for pairs that `music swap` made among those held out of finished pairs: they share replies with others.

    Returns:
        A sentence for the user if there are some.
    """
    if not any(isinstance(pair, ContrastivePair) and _is_swapped(pair) for pair in held_out):
        return None
    return (
        "pairs of music swap exchange their replies, so held-out pairs share replies with training pairs, and held-out "
        "figures are not those of new pairs: hold conversations out before the swap (music swap --out DIR "
        "--eval-fraction 0.1), and train with --eval DIR/eval"
    )


def _is_swapped(pair: ContrastivePair) -> bool:
    return any(contrast.strategy == "swap" for contrast in pair.contrasts)


def _content(pair: PreferencePair) -> tuple[bytes, bytes]:
    chosen, rejected = (side.model_dump_json().encode() for side in (pair.chosen, pair.rejected))
    return chosen, rejected
