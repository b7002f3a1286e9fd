"""`DeterministicScorer`: rewards that are bitwise the same whatever else is scored, and whenever it is scored.

Kernels round differently for rows of different lengths, so a sequence that shares a row with others has rewards that
depend on them in the last bits. Here each sequence is cut into chunks of one fixed length, at multiples of that length.
A row holds one chunk, and the keys and values of the chunks before it come from earlier rows. So the shapes and places
of everything that a token's reward depends on follow from its position alone. That also makes it safe to keep chunks:
one that is computed again has the same bits.

The last chunk is filled up to the next quarter. No token sees a later one, so the filler changes nothing. A reward
within a conversation is read from the row that the conversation has if it is cut at the end of the reward's quarter,
and so it has the same bits as the reward of the conversation cut there.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from music.errors import InvalidInputError
from music.reward.attention import SegmentTable
from music.reward.attention.table import SegmentKeys
from music.reward.packing import PackedRow, PrefixTree, Segment, TokenSequence
from music.reward.scoring.forward import PackedScorer
from music.reward.scoring.keeping_scorer import KeepingScorer
from music.reward.scoring.sequence_scorer import Ids

__all__ = ["DeterministicScorer"]

# Longer chunks need fewer forward passes and more filler. On the CPU 160 to 192 tokens are fastest for conversations
# of 100 to 600. Shorter chunks are faster for candidates of one history.
_CHUNK_TOKENS = {"cpu": 160, "cuda": 256}
_FILLER = 0

_States = list[tuple[Tensor, Tensor]]


class DeterministicScorer(KeepingScorer):
    """Scores token sequences with bitwise reproducible rewards.

    Models with `longrope` read a sequence with frequencies that depend on its whole length, so their sequences are not
    cut: each has a row to itself, and nothing is kept.

    Args:
        scorer: The model, in eval mode.
        max_cached_tokens: Most tokens to keep; 0 keeps none. Only whole chunks are kept.
        max_tokens: Number of tokens in a chunk, a multiple of 4; by default what suits the device.
        frozen: Whether the weights never change, so that they are not compared at each call.

    Raises:
        InvalidInputError: The back-end of attention is `flex`.
    """

    def __init__(
        self, scorer: PackedScorer, max_cached_tokens: int, max_tokens: int | None = None, *, frozen: bool = False
    ) -> None:
        if scorer.backend == "flex":
            raise InvalidInputError(
                "deterministic scores: expected attention gather or varlen, got flex, whose kernels are compiled for "
                "the shapes that come first, so that scores depend on earlier ones: load the model with "
                "attention='gather'"
            )
        size = max_tokens or _CHUNK_TOKENS.get(scorer.classifier.device.type, _CHUNK_TOKENS["cpu"])
        super().__init__(scorer, max_cached_tokens, size, frozen=frozen)
        self._quarter = size // 4
        self._chunks: OrderedDict[Ids, _Chunk] = OrderedDict()

    def rewards(self, sequences: Sequence[TokenSequence]) -> list[list[float]]:
        """Return the rewards at each sequence's reads; each has the bits of the sequence that ends with its token."""
        if self._boundary is not None:
            return super().rewards(sequences)
        cut = [self._cut(sequence) for sequence in sequences]
        found = iter(super().rewards([part for parts in cut for part in parts]))
        return [[reward for _ in parts for reward in next(found)] for parts in cut]

    def _cut(self, sequence: TokenSequence) -> list[TokenSequence]:
        """Return the beginnings that end with the quarters of chunks in which the sequence is read."""
        return [
            TokenSequence(sequence.ids[: (number + 1) * self._quarter], tuple(reads))
            for number, reads in groupby(sequence.reads, lambda read: read // self._quarter)
        ]

    def _forget(self) -> None:
        self._chunks.clear()

    def _score_distinct(self, sequences: Sequence[Ids]) -> dict[Ids, Tensor]:
        # Sequences that begin alike are neighbours, so it suffices to keep what the last one had.
        found = {ids: self._rewards(ids) for ids in sorted(sequences)}
        self._drop(self.max_cached_tokens)
        return found

    def _rewards(self, ids: Ids) -> Tensor:
        """Return the rewards of all tokens of a sequence."""
        size = self._max_tokens if self._boundary is None else len(ids)
        path: list[_Chunk] = []
        for start in range(0, len(ids), size):
            beginning = ids[: start + size]
            path.append(self._chunks.get(beginning) or self._compute(beginning, start, path))
        if self._boundary is None:
            self._keep(ids, path)
        return torch.cat([chunk.rewards for chunk in path]).cpu()

    def _compute(self, beginning: Ids, start: int, before: Sequence["_Chunk"]) -> "_Chunk":
        """Compute the chunk from `start`, filled up to the next quarter."""
        past = _Past(before)
        own = beginning[start:]
        size = len(own) + (-len(own) % self._quarter if self._boundary is None else 0)
        rewards = self._scorer.head(self._scorer.hidden(_row(own, start, size), _table(start, size), past))
        self.num_computed_tokens += size
        return _Chunk(past.states, rewards[: len(own)])

    def _keep(self, ids: Ids, path: Sequence["_Chunk"]) -> None:
        """Keep a sequence's whole chunks; those that were used least recently go first, the ends before beginnings."""
        size = self._max_tokens
        for number in reversed(range(len(ids) // size)):
            beginning = ids[: (number + 1) * size]
            self._chunks[beginning] = path[number]
            self._chunks.move_to_end(beginning)
        self._drop(max(self.max_cached_tokens, len(ids)))

    def _drop(self, max_tokens: int) -> None:
        """Keep at most `max_tokens` tokens."""
        while len(self._chunks) * self._max_tokens > max_tokens:
            self._chunks.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _Chunk:
    """What was computed for a chunk.

    Attributes:
        states: Keys and values, `[1, key_heads, tokens, head_dim]` each, in the order in which layers attend.
        rewards: Rewards of its tokens, without those of the filler.
    """

    states: _States
    rewards: Tensor


class _Past:
    """The chunks before a chunk for one forward pass; it collects the chunk's own keys and values in `states`."""

    def __init__(self, before: Sequence[_Chunk]) -> None:
        self._before = before
        self.states: _States = []

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys and values of the chunks before and of this one."""
        number = len(self.states)
        # A view of one projection for queries, keys and values would keep all of it in memory.
        self.states.append((key.contiguous(), value.contiguous()))
        keys, values = zip(*(chunk.states[number] for chunk in self._before), self.states[-1], strict=True)
        return torch.cat(keys, 2), torch.cat(values, 2)


def _row(own: Ids, start: int, size: int) -> PackedRow:
    """Return a row of a chunk's tokens; the filler has positions that every model knows."""
    segments = [Segment(None, start, own)]
    if num_filled := size - len(own):
        segments.append(Segment(None, 0, (_FILLER,) * num_filled))
    return PackedRow((0,), (1,), (PrefixTree(tuple(segments), (0,), ((),)),))


def _table(start: int, size: int) -> SegmentTable:
    """Return a table in which a chunk, filler included, is one segment that continues one cached segment."""
    before = [SegmentKeys(start=0, stop=start, position=0, path=(0,))] if start else []
    own = SegmentKeys(start=start, stop=start + size, position=start, path=tuple(range(len(before) + 1)))
    return SegmentTable(before, [own])
