"""`SequenceScorer`: sequences of tokens to rewards; nothing that sequences share at their beginning is computed twice.

Within a scoring they share rows. From one scoring to the next, a cache holds the keys and values of as many tokens as
it was made for: only what lies behind the longest kept beginning of a sequence is computed.
"""

import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import chain, groupby

import torch
from torch import Tensor
from transformers import PreTrainedModel

from music.reward.attention import SegmentTable
from music.reward.device import ensure_usable
from music.reward.forward import PackedScorer, row_tokens
from music.reward.grouping import alike_runs, joined
from music.reward.packing import PackedRow, TokenSequence, plan_rows
from music.reward.prefix_cache import PrefixCache, Span
from music.reward.rope import split_sequence
from music.reward.state_pool import CachedPast, StatePool

__all__ = ["SequenceScorer"]

MIN_SAVED = 8
"""Tokens that sharing a stretch must save. Less than in training: there is no backward pass to pay for."""

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Group:
    """Sequences that are computed together, all behind the same cached tokens."""

    behind: Span
    members: tuple[Ids, ...]


class SequenceScorer:
    """Scores sequences, and keeps what it computed.

    What is kept is dropped as soon as a weight has changed, and where a scoring fails. A copy begins with nothing kept.

    Args:
        scorer: In eval mode.
        max_cached_tokens: Bound on what is kept from one scoring to the next, in tokens; 0 for nothing.
        max_tokens: About the tokens of a row; by default what suits the device.
    """

    def __init__(self, scorer: PackedScorer, max_cached_tokens: int = 0, max_tokens: int | None = None) -> None:
        self._scorer = scorer
        self._max_tokens = max_tokens or row_tokens(scorer.classifier.device)
        self._boundary = scorer.rope.boundary
        self._cache = PrefixCache(max_cached_tokens, self._boundary)
        self._pool = StatePool()
        self._weights: Hashable = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type["SequenceScorer"], tuple[PackedScorer, int, int]]:
        """Copy and pickle without what is kept."""
        return type(self), (self._scorer, self.max_cached_tokens, self._max_tokens)

    @property
    def max_cached_tokens(self) -> int:
        """Bound on what is kept, in tokens."""
        return self._cache.max_tokens

    @torch.no_grad()
    def rewards(self, sequences: Sequence[TokenSequence]) -> list[list[float]]:
        """Return the rewards at each sequence's reads; equal sequences have equal rewards, to the last bit.

        Raises:
            InvalidInputError: The model is on a GPU that this forked process cannot use.
        """
        ensure_usable(self._scorer.classifier.device)
        parts = [split_sequence(sequence, self._boundary) for sequence in sequences]
        ids = [tuple(part.ids) for of_sequence in parts for part in of_sequence]
        with self._lock:
            try:
                self._forget_other_weights()
                found: dict[Ids, Tensor] = {}
                for _, alike in groupby(sorted(ids, key=self._is_long), self._is_long):  # rows of one kind each
                    found |= self._rewards(list(alike))
            except BaseException:  # out of memory, say: some layers have kept the row, others have not
                self._forget()
                raise
        read = [[found[tuple(part.ids)][list(part.reads)] for part in of_sequence] for of_sequence in parts]
        return [torch.cat(of_sequence).tolist() for of_sequence in read]

    def _is_long(self, ids: Ids) -> bool:
        return self._boundary is not None and len(ids) > self._boundary

    def _forget_other_weights(self) -> None:
        weights = _state(self._scorer.classifier) if self.max_cached_tokens else None
        if weights != self._weights:
            self._forget()
            self._weights = weights

    def _forget(self) -> None:
        self._cache.clear()
        self._pool.clear()

    def _rewards(self, sequences: Sequence[Ids]) -> dict[Ids, Tensor]:
        """Return the rewards of all tokens by sequence."""
        self._cache.begin()
        found: dict[Ids, Tensor] = {}
        pending = list(dict.fromkeys(sequences))
        while pending:
            spans = [self._cache.find(ids) for ids in pending]
            known = {ids: span for ids, span in zip(pending, spans, strict=True) if span.stop == len(ids)}
            found |= {ids: self._cached_rewards(span) for ids, span in known.items()}
            unknown = [(ids, span) for ids, span in zip(pending, spans, strict=True) if ids not in known]
            groups, pending = self._groups(unknown)
            for row in self._plan(groups):
                found |= self._compute(row, [groups[group] for group in row.groups])
        return found

    def _groups(self, sequences: Sequence[tuple[Ids, Span]]) -> tuple[list[_Group], list[Ids]]:
        """Group what shares a beginning; return the groups, and what is to wait until theirs is in the cache."""
        members: dict[Span, list[Ids]] = {}
        for ids, span in sequences:
            # A few tokens are not worth a further stretch in every attention layer.
            members.setdefault(span if span.stop >= MIN_SAVED else self._cache.root(ids), []).append(ids)
        groups: list[_Group] = []
        waiting: list[Ids] = []
        for span, alike in members.items():
            own = [ids[span.stop :] for ids in alike]
            found = []
            for first, *others in alike_runs(own, self._max_tokens):
                found.append(first)
                if self.max_cached_tokens:
                    waiting += [alike[i] for other in others for i in other]
                else:
                    found += others
            if span.parent is not None:  # they see the same cached tokens, which stand once in a row
                found = joined(found, [len(ids) for ids in own], self._max_tokens)
            groups += [_Group(span, tuple(alike[i] for i in group)) for group in found]
        return groups, waiting

    def _plan(self, groups: Sequence[_Group]) -> Sequence[PackedRow]:
        sequences = [[TokenSequence(ids, ()) for ids in group.members] for group in groups]
        num_cached = [group.behind.stop for group in groups]
        return plan_rows(sequences, self._max_tokens, min_saved=MIN_SAVED, num_cached=num_cached).rows

    def _compute(self, row: PackedRow, groups: Sequence[_Group]) -> dict[Ids, Tensor]:
        """Compute a row, and keep what there is room for."""
        device = self._scorer.classifier.device
        prefixes = [group.behind.path() for group in groups]
        table = SegmentTable.of(row, prefixes)
        seen = torch.tensor([slot for span in dict.fromkeys(chain(*prefixes)) for slot in span.slots], dtype=torch.long)
        earlier = {group.behind: self._cached_rewards(group.behind) for group in groups}
        places, slots = self._allot(row, groups)
        self._pool.make_room(self._cache.num_slots, self.max_cached_tokens)
        past = CachedPast(self._pool, seen.to(device), places.to(device), slots.to(device))
        rewards = self._scorer.head(self._scorer.hidden(row, table, past)).cpu()
        self._pool.keep_rewards(slots, rewards[places])
        return {
            ids: torch.cat([earlier[group.behind], rewards[own]])
            for group, of_group in zip(groups, row.places(), strict=True)
            for ids, own in zip(group.members, of_group, strict=True)
        }

    def _allot(self, row: PackedRow, groups: Sequence[_Group]) -> tuple[Tensor, Tensor]:
        """Return which tokens of a row are kept, and their slots."""
        kept, slots = [torch.empty(0, dtype=torch.long)], []
        for group, of_group in zip(groups, row.places(), strict=True):
            for ids, places in zip(group.members, of_group, strict=True):
                num_known, new = self._cache.add(ids)
                start = num_known - group.behind.stop
                kept.append(places[start : start + len(new)])
                slots += new
        return torch.cat(kept), torch.tensor(slots, dtype=torch.long)

    def _cached_rewards(self, span: Span) -> Tensor:
        """Return the rewards of the tokens up to the end of a span."""
        slots = [slot for each in span.path() for slot in each.slots]
        return self._pool.rewards(torch.tensor(slots, dtype=torch.long))


def _state(classifier: PreTrainedModel) -> Hashable:
    """Return what tells whether weights are those of before, and are used in the same way.

    Weights are compared by sums over all their bits, for fused optimizers and writes to `.data` leave no other trace.
    It takes as long as to read the weights once, so less than a forward pass of a few tokens.
    """
    device = classifier.device
    sums = [_sum_of_bits(each).to(device) for each in (*classifier.parameters(), *classifier.buffers())]
    autocast = torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)
    return tuple(torch.stack(sums).tolist()), classifier.dtype, autocast, classifier.training, device


def _sum_of_bits(tensor: Tensor) -> Tensor:
    """Return a tensor's bits, summed up as 64-bit integers, with what wraps around."""
    octets = tensor.detach().reshape(-1).view(torch.uint8)
    octets = octets.clone() if octets.storage_offset() % 8 else octets
    num = len(octets) // 8 * 8
    return octets[:num].view(torch.int64).sum() + octets[num:].sum()
