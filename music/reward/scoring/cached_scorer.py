"""`CachedScorer`: a `SequenceScorer` with a prefix cache, for sequences that grow from call to call.

A cache holds the keys and values of a bounded number of tokens. Of every sequence, only what follows its longest cached
beginning is computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from music.reward.attention import SegmentTable
from music.reward.packing import PackedRow, TokenSequence, plan_rows
from music.reward.packing.prefix_cache import CachedSegment, PrefixCache
from music.reward.scoring.forward import PackedScorer
from music.reward.scoring.keeping_scorer import KeepingScorer
from music.reward.scoring.sequence_scorer import MIN_SAVED, Ids, SequenceScorer, group_alike
from music.reward.scoring.states import CachedPast, StatePool

__all__ = ["CachedScorer", "make_sequence_scorer", "merge_groups"]


def make_sequence_scorer(
    scorer: PackedScorer, max_cached_tokens: int = 0, max_tokens: int | None = None, *, frozen: bool = False
) -> SequenceScorer:
    """Return a scorer with a cache of this size, or without a cache if that is 0.

    Args:
        scorer: The model, in eval mode.
        max_cached_tokens: Most tokens to keep from call to call.
        max_tokens: Approximate number of tokens in a row; by default what suits the device.
        frozen: As in `KeepingScorer`.
    """
    if max_cached_tokens:
        return CachedScorer(scorer, max_cached_tokens, max_tokens, frozen=frozen)
    return SequenceScorer(scorer, max_tokens)


@dataclass(frozen=True, slots=True)
class _Group:
    """Sequences that are computed together and continue the same cached tokens."""

    prefix: CachedSegment
    members: tuple[Ids, ...]


class CachedScorer(KeepingScorer):
    """Scores token sequences, and keeps the states of single tokens, as many as there is room for."""

    def __init__(
        self, scorer: PackedScorer, max_cached_tokens: int, max_tokens: int | None = None, *, frozen: bool = False
    ) -> None:
        super().__init__(scorer, max_cached_tokens, max_tokens, frozen=frozen)
        self._cache = PrefixCache(max_cached_tokens, self._boundary)
        self._states = StatePool()

    def _forget(self) -> None:
        self._cache.clear()
        self._states.clear()

    def _score_distinct(self, sequences: Sequence[Ids]) -> dict[Ids, Tensor]:
        self._cache.begin()
        found: dict[Ids, Tensor] = {}
        pending = list(sequences)
        while pending:
            ends = [self._cache.find(ids) for ids in pending]
            known = {ids: end for ids, end in zip(pending, ends, strict=True) if end.stop == len(ids)}
            found |= {ids: self._cached_rewards(end) for ids, end in known.items()}
            unknown = [(ids, end) for ids, end in zip(pending, ends, strict=True) if ids not in known]
            groups, pending = self._groups(unknown)
            members = [[TokenSequence(ids, ()) for ids in group.members] for group in groups]
            num_cached = [group.prefix.stop for group in groups]
            for row in plan_rows(members, self._max_tokens, min_saved=MIN_SAVED, num_cached=num_cached).rows:
                found |= self._compute(row, [groups[group] for group in row.groups])
        return found

    def _groups(self, sequences: Sequence[tuple[Ids, CachedSegment]]) -> tuple[list[_Group], list[Ids]]:
        """Return groups that share a beginning, and the sequences that wait until their beginning is cached."""
        members: dict[CachedSegment, list[Ids]] = {}
        for ids, end in sequences:
            # A few tokens do not justify one more segment in every attention layer.
            members.setdefault(end if end.stop >= MIN_SAVED else self._cache.root(ids), []).append(ids)
        groups: list[_Group] = []
        waiting: list[Ids] = []
        for end, alike in members.items():
            own = [ids[end.stop :] for ids in alike]
            found = []
            for first, *others in group_alike(own, self._max_tokens):
                found.append(first)
                waiting += [alike[i] for other in others for i in other]
            if end.parent is not None:  # they see the same cached tokens, which a row stores once
                found = merge_groups(found, [len(ids) for ids in own], self._max_tokens)
            groups += [_Group(end, tuple(alike[i] for i in group)) for group in found]
        return groups, waiting

    def _compute(self, row: PackedRow, groups: Sequence[_Group]) -> dict[Ids, Tensor]:
        """Compute a row, and keep as many of its tokens as the cache has room for."""
        device = self._scorer.classifier.device
        prefixes = [group.prefix.path() for group in groups]
        table = SegmentTable.of(row, prefixes)
        seen = [slot for segment in dict.fromkeys(chain(*prefixes)) for slot in segment.slots]
        earlier = {group.prefix: self._cached_rewards(group.prefix) for group in groups}
        places, slots = self._allot(row, groups)
        self._states.make_room(self._cache.num_slots, self.max_cached_tokens)
        past = CachedPast(self._states, _index(seen).to(device), places.to(device), slots.to(device))
        rewards = self._scorer.head(self._scorer.hidden(row, table, past)).cpu()
        self._states.keep_rewards(slots, rewards[places])
        self.num_computed_tokens += row.num_tokens
        return {
            ids: torch.cat([earlier[group.prefix], rewards[own]])
            for group, of_group in zip(groups, row.places(), strict=True)
            for ids, own in zip(group.members, of_group, strict=True)
        }

    def _allot(self, row: PackedRow, groups: Sequence[_Group]) -> tuple[Tensor, Tensor]:
        """Return which tokens of a row are kept, and their slots."""
        kept, slots = [_index([])], []
        for group, of_group in zip(groups, row.places(), strict=True):
            for ids, places in zip(group.members, of_group, strict=True):
                num_known, new = self._cache.add(ids)
                start = num_known - group.prefix.stop
                kept.append(places[start : start + len(new)])
                slots += new
        return torch.cat(kept), _index(slots)

    def _cached_rewards(self, end: CachedSegment) -> Tensor:
        """Return the rewards of the tokens up to the end of a cached segment."""
        return self._states.rewards(_index([slot for segment in end.path() for slot in segment.slots]))


def merge_groups(groups: Sequence[Sequence[int]], sizes: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Merge neighbouring groups.

    Args:
        groups: Indices of each group's members.
        sizes: The size of each member, by index.
        max_tokens: Bound on the total size of a merged group.
    """
    merged: list[list[int]] = []
    room = 0
    for group in groups:
        size = sum(sizes[index] for index in group)
        if not merged or size > room:
            merged.append([])
            room = max_tokens
        merged[-1] += group
        room -= size
    return merged


def _index(numbers: Sequence[int]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.long)
