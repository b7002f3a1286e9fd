"""Training pairs as tokens, an account of the unusable pairs, and the groups of pairs that are packed together."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from music.conversation import Conversation
from music.pairs import PreferencePair
from music.preferences import seed_key
from music.reward.packing import PrefixTree, TokenSequence
from music.reward.tokens.contract import Unscorable
from music.reward.tokens.encoding import ConversationTokenizer, Encoding
from music_trainers.reward.records import PairAccounting

__all__ = ["EncodedPair", "PairGroup", "encode_pairs", "group_by_chosen", "group_by_seed"]


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """One pair as tokens.

    Attributes:
        chosen: The better side, and where its rewards are read.
        rejected: The worse side.
        turns: Indices of the two sides' rewards after the same turn, for turns at which the sides differ.
        seed: Name of the seed conversation; pairs that share it usually have the same beginning.
        margin: By how much the chosen side should win.
    """

    chosen: TokenSequence
    rejected: TokenSequence
    turns: tuple[tuple[int, int], ...] = ()
    seed: str = ""
    margin: float = 0.0

    @property
    def length(self) -> int:
        """Tokens of the longer side."""
        return max(len(self.chosen.ids), len(self.rejected.ids))

    @property
    def num_tokens(self) -> int:
        """Tokens of both sides."""
        return len(self.chosen.ids) + len(self.rejected.ids)


def encode_pairs(
    tokens: ConversationTokenizer,
    pairs: Sequence[PreferencePair],
    *,
    every_turn: bool = False,
    margins: Mapping[str, float] | None = None,
) -> tuple[list[EncodedPair], PairAccounting]:
    """Tokenize pairs, and count the unusable ones by reason.

    Args:
        tokens: The path from messages to tokens.
        pairs: The pairs.
        every_turn: Whether rewards are read after every assistant turn.
        margins: Margins by the id of the pair; 0 for pairs that are not in it.
    """
    chosen = tokens.encode([pair.chosen for pair in pairs], every_turn=every_turn)
    rejected = tokens.encode([pair.rejected for pair in pairs], every_turn=every_turn)
    encoded: list[EncodedPair] = []
    dropped: Counter[str] = Counter()
    num_truncated = 0
    for pair, better, worse in zip(pairs, chosen, rejected, strict=True):
        if not (isinstance(better, Encoding) and isinstance(worse, Encoding)):
            dropped[str(worse if isinstance(better, Encoding) else better)] += 1
            continue
        is_truncated = better.num_dropped_turns > 0 or worse.num_dropped_turns > 0
        better, worse = _cut_equally(tokens, pair, better, worse, every_turn)
        if better.ids == worse.ids:
            dropped["identical_after_truncation" if is_truncated else "identical_as_tokens"] += 1
            continue
        turns = _turns_that_differ(better, worse)
        margin = (margins or {}).get(pair.id, 0.0)
        encoded.append(EncodedPair(better.sequence, worse.sequence, turns, seed_key(pair), margin))
        num_truncated += is_truncated
    accounting = PairAccounting(
        num_read=len(pairs), num_used=len(encoded), num_truncated=num_truncated, num_dropped=dict(dropped)
    )
    return encoded, accounting


def _cut_equally(
    tokens: ConversationTokenizer, pair: PreferencePair, better: Encoding, worse: Encoding, every_turn: bool
) -> tuple[Encoding, Encoding]:
    """Drop the same number of exchanges on both sides, so that they keep the same history.

    If a side has no more exchanges to drop, the sides are unchanged.
    """
    if better.num_dropped_turns == worse.num_dropped_turns:
        return better, worse
    if better.num_dropped_turns > worse.num_dropped_turns:
        return better, _cut(tokens, pair.rejected, worse, better.num_dropped_turns, every_turn)
    return _cut(tokens, pair.chosen, better, worse.num_dropped_turns, every_turn), worse


def _cut(
    tokens: ConversationTokenizer, conversation: Conversation, encoding: Encoding, num_turns: int, every_turn: bool
) -> Encoding:
    """Encode a conversation without its oldest exchanges, unless none would be left."""
    if num_turns >= conversation.num_turns:
        return encoding
    (shorter,) = tokens.encode([conversation.without_exchanges(num_turns)], every_turn=every_turn)
    assert not isinstance(shorter, Unscorable), "part of a conversation that fits must fit"
    return Encoding(shorter.ids, shorter.reads, num_turns)


def _turns_that_differ(better: Encoding, worse: Encoding) -> tuple[tuple[int, int], ...]:
    """Return the indices of both sides' rewards after the same turn, without turns up to which the sides are equal."""
    shift = better.num_dropped_turns - worse.num_dropped_turns
    turns = []
    for index, ours in enumerate(better.reads):
        other = index + shift
        if 0 <= other < len(worse.reads):
            theirs = worse.reads[other]
            if better.ids[: ours + 1] != worse.ids[: theirs + 1]:
                turns.append((index, other))
    return tuple(turns)


@dataclass(frozen=True, slots=True)
class PairGroup:
    """Pairs that share one packed row.

    Attributes:
        pairs: At least one.
    """

    pairs: tuple[EncodedPair, ...]

    def sequences(self) -> list[TokenSequence]:
        """Return the chosen and the rejected side of each pair; packing stores equal sides once."""
        return [sequence for pair in self.pairs for sequence in (pair.chosen, pair.rejected)]


def group_by_seed(pairs: Sequence[EncodedPair], max_tokens: int) -> list[PairGroup]:
    """Put the pairs of each seed conversation into one group, or into several if one row would be too long.

    Args:
        pairs: The pairs of a step.
        max_tokens: Upper bound on the tokens that a group stores; a single pair may be larger.
    """
    groups: list[PairGroup] = []
    for members in _collect((pair.seed, pair) for pair in pairs):
        part: list[EncodedPair] = []
        for pair in members:
            if part and PrefixTree.grow(PairGroup((*part, pair)).sequences()).num_tokens > max_tokens:
                groups.append(PairGroup(tuple(part)))
                part = []
            part.append(pair)
        groups.append(PairGroup(tuple(part)))
    return groups


def group_by_chosen(pairs: Sequence[EncodedPair]) -> list[PairGroup]:
    """Put the pairs with the same chosen tokens into one group of any size.

    If a source's weight draws a pair twice in a step, the copies go into different groups.
    """
    seen: Counter[int] = Counter()
    keyed = []
    for pair in pairs:
        keyed.append(((tuple(pair.chosen.ids), seen[id(pair)]), pair))
        seen[id(pair)] += 1
    return [PairGroup(tuple(members)) for members in _collect(keyed)]


def _collect(keyed: Iterable[tuple[Hashable, EncodedPair]]) -> list[list[EncodedPair]]:
    """Group pairs by key, in the order of each key's first pair."""
    found: dict[Hashable, list[EncodedPair]] = defaultdict(list)
    for key, pair in keyed:
        found[key].append(pair)
    return list(found.values())
