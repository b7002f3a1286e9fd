"""Training pairs as tokens, with an account of every pair that did not make it, and their order."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from music.pairs import PreferencePair
from music.reward.tokens import ConversationTokenizer, Encoding
from music_trainers.records import PairAccounting

__all__ = ["EncodedPair", "encode_pairs", "iterate_batches", "micro_batches", "num_batches"]

WINDOW = 16
"""Batches among which pairs are sorted by length."""


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """One pair as token ids; the reward is read at the last token of each side."""

    chosen: list[int]
    rejected: list[int]

    @property
    def length(self) -> int:
        """Tokens of the longer side."""
        return max(len(self.chosen), len(self.rejected))

    @property
    def num_tokens(self) -> int:
        """Tokens of both sides."""
        return len(self.chosen) + len(self.rejected)


def encode_pairs(
    tokens: ConversationTokenizer, pairs: Sequence[PreferencePair]
) -> tuple[list[EncodedPair], PairAccounting]:
    """Tokenize pairs; count those that cannot be used by reason."""
    chosen = tokens.encode([pair.chosen for pair in pairs])
    rejected = tokens.encode([pair.rejected for pair in pairs])
    encoded: list[EncodedPair] = []
    dropped: Counter[str] = Counter()
    num_truncated = 0
    for better, worse in zip(chosen, rejected, strict=True):
        if not (isinstance(better, Encoding) and isinstance(worse, Encoding)):
            dropped[str(worse if isinstance(better, Encoding) else better)] += 1
        elif better.ids == worse.ids:
            dropped["identical_after_truncation"] += 1
        else:
            encoded.append(EncodedPair(better.ids, worse.ids))
            num_truncated += bool(better.num_dropped_turns or worse.num_dropped_turns)
    accounting = PairAccounting(
        num_read=len(pairs), num_used=len(encoded), num_truncated=num_truncated, num_dropped=dict(dropped)
    )
    return encoded, accounting


def num_batches(num_pairs: int, batch_size: int) -> int:
    """Return the number of batches in an epoch."""
    return -(-num_pairs // batch_size)


def iterate_batches(lengths: Sequence[int], batch_size: int, seed: int, start: int = 0) -> Iterator[list[int]]:
    """Yield batches of indices for ever, epoch after epoch; the order follows from `seed` alone.

    Each epoch shuffles, sorts by length inside windows of some batches, and shuffles the batches. Batches of an epoch
    differ by one pair at most in size, so that no small last batch weighs more than the others.

    Args:
        lengths: Length of each item.
        batch_size: Most items in a batch.
        seed: Of the order.
        start: Batches to leave out, as when a run resumes.
    """
    epoch, skip = divmod(start, num_batches(len(lengths), batch_size))
    while True:
        yield from _epoch(lengths, batch_size, random.Random(f"{seed}/{epoch}"))[skip:]
        epoch, skip = epoch + 1, 0


def _epoch(lengths: Sequence[int], batch_size: int, rng: random.Random) -> list[list[int]]:
    """Plan one epoch."""
    order = list(range(len(lengths)))
    rng.shuffle(order)
    window = batch_size * WINDOW
    for start in range(0, len(order), window):
        order[start : start + window] = sorted(order[start : start + window], key=lambda i: lengths[i])
    count = num_batches(len(order), batch_size)
    bounds = [len(order) * i // count for i in range(count + 1)]
    batches = [order[bounds[i] : bounds[i + 1]] for i in range(count)]
    rng.shuffle(batches)
    return batches


def micro_batches(batch: Sequence[EncodedPair], max_tokens: int) -> list[list[EncodedPair]]:
    """Split a batch so that no part holds more than `max_tokens`, padding included (save a single long pair)."""
    parts: list[list[EncodedPair]] = []
    for pair in sorted(batch, key=lambda p: -p.length):
        if not parts or 2 * parts[-1][0].length * (len(parts[-1]) + 1) > max_tokens:
            parts.append([])
        parts[-1].append(pair)
    return parts
