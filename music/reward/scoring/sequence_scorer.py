"""`SequenceScorer`: token sequences to rewards. Beginnings that sequences of a call share are computed once.

It keeps nothing from call to call; `CachedScorer` in `music.reward.scoring.cached_scorer` does.
"""

import threading
from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

from music.reward.attention import SegmentTable
from music.reward.packing import TokenSequence, plan_rows
from music.reward.packing.prefix_cache import num_common
from music.reward.scoring.device import ensure_usable
from music.reward.scoring.forward import PackedScorer, row_tokens
from music.reward.scoring.rope import split_sequence

__all__ = ["MIN_SAVED", "Ids", "SequenceScorer", "group_alike"]

MIN_SAVED = 8
"""Fewest tokens that sharing a segment must save. It is lower than in training, as there is no backward pass."""
_MIN_SHARE = 0.1
"""Share of its tokens that a sequence must have in common with its neighbour to join that group."""

Ids = tuple[int, ...]


class SequenceScorer:
    """Scores token sequences with a model.

    Args:
        scorer: The model, in eval mode.
        max_tokens: Approximate number of tokens in a row; by default what suits the device.

    Attributes:
        max_cached_tokens: Bound on the tokens whose states are kept from call to call: 0.
        num_computed_tokens: Number of tokens computed so far. Tokens that sequences share count once.
    """

    max_cached_tokens = 0

    def __init__(self, scorer: PackedScorer, max_tokens: int | None = None) -> None:
        self._scorer = scorer
        self._max_tokens = max_tokens or row_tokens(scorer.classifier.device)
        self._boundary = scorer.rope.boundary
        self._lock = threading.Lock()
        self.num_computed_tokens = 0

    def __reduce__(self) -> tuple[object, ...]:
        """Copy and pickle without the lock."""
        return type(self), (self._scorer, self._max_tokens)

    @torch.no_grad()
    def rewards(self, sequences: Sequence[TokenSequence]) -> list[list[float]]:
        """Return the rewards at each sequence's reads. Equal sequences have bitwise equal rewards.

        Raises:
            InvalidInputError: The model is on a GPU that this forked process cannot use.
        """
        ensure_usable(self._scorer.classifier.device)
        parts = [split_sequence(sequence, self._boundary) for sequence in sequences]
        with self._lock:
            found = self._score([tuple(part.ids) for of_sequence in parts for part in of_sequence])
        read = [[found[tuple(part.ids)][list(part.reads)] for part in of_sequence] for of_sequence in parts]
        return [torch.cat(of_sequence).tolist() for of_sequence in read]

    def _score(self, sequences: Sequence[Ids]) -> dict[Ids, Tensor]:
        """Return the rewards of all tokens by sequence. A row holds short sequences or long ones, never both."""

        def is_long(ids: Ids) -> bool:
            return self._boundary is not None and len(ids) > self._boundary

        found: dict[Ids, Tensor] = {}
        for _, alike in groupby(sorted(dict.fromkeys(sequences), key=is_long), is_long):
            found |= self._score_distinct(list(alike))
        return found

    def _score_distinct(self, sequences: Sequence[Ids]) -> dict[Ids, Tensor]:
        """Return the rewards of all tokens of different sequences, all short or all long."""
        runs = group_alike(sequences, self._max_tokens)
        groups = [[sequences[index] for index in group] for run in runs for group in run]
        whole = [[TokenSequence(ids, ()) for ids in group] for group in groups]
        found: dict[Ids, Tensor] = {}
        for row in plan_rows(whole, self._max_tokens, min_saved=MIN_SAVED, num_cached=[0] * len(whole)).rows:
            rewards = self._scorer.head(self._scorer.hidden(row, SegmentTable.of(row))).cpu()
            self.num_computed_tokens += row.num_tokens
            for group, places in zip(row.groups, row.places(), strict=True):
                found |= {ids: rewards[own] for ids, own in zip(groups[group], places, strict=True)}
        return found


def group_alike(sequences: Sequence[Ids], max_tokens: int) -> list[list[list[int]]]:
    """Sort sequences, and group neighbours that share enough of their beginning; the others stay alone.

    Args:
        sequences: Token ids, in any order.
        max_tokens: Bound on a group's tokens beyond those of its first sequence. A bound on all of its tokens would put
            each sequence with a long history into a group of its own, and share nothing.

    Returns:
        Indices of the sequences, by run and group. Groups of one run begin alike, and are separate only because of the
        bound.
    """
    order = sorted(range(len(sequences)), key=lambda i: sequences[i])
    runs: list[list[list[int]]] = []
    room = 0
    for index in order:
        ids = sequences[index]
        shared = num_common(sequences[runs[-1][-1][-1]], ids) if runs else 0
        if not runs or shared < _MIN_SHARE * len(ids):
            runs.append([[index]])
            room = max_tokens
        elif len(ids) - shared > room:
            runs[-1].append([index])
            room = max_tokens
        else:
            runs[-1][-1].append(index)
            room -= len(ids) - shared
    return runs
