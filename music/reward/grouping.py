"""Which sequences are computed together: those that begin alike, whoever brings them and in whatever order."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from music.reward.packing import PackedRow, TokenSequence, plan_rows

__all__ = ["group_alike", "num_common", "score_sequences"]

MIN_SHARE = 0.1
"""Of a sequence's tokens, what it must share with its neighbour: less does not pay for being kept in one row."""


def num_common(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two sequences share at their beginning."""
    low, high = 0, min(len(first), len(second))
    while low < high:  # slices compare in C, so halving beats a loop over the tokens
        middle = (low + high + 1) // 2
        low, high = (middle, high) if first[low:middle] == second[low:middle] else (low, middle - 1)
    return low


def group_alike(sequences: Sequence[TokenSequence], max_tokens: int) -> list[list[int]]:
    """Group sequences that share enough of their beginning; the others stay alone.

    Args:
        sequences: In any order.
        max_tokens: Bound on a group's tokens beyond those of its first sequence. What a group shares is computed once
            for each group, so a bound on all of its tokens would share nothing of a long history.

    Returns:
        Indices of the sequences, by group.
    """
    order = sorted(range(len(sequences)), key=lambda i: list(sequences[i].ids))
    groups: list[list[int]] = []
    room = 0
    for index in order:
        ids = sequences[index].ids
        shared = num_common(sequences[groups[-1][-1]].ids, ids) if groups else 0
        if groups and shared >= MIN_SHARE * len(ids) and len(ids) - shared <= room:
            groups[-1].append(index)
            room -= len(ids) - shared
        else:
            groups.append([index])
            room = max_tokens
    return groups


@torch.no_grad()
def score_sequences(
    score_row: Callable[[PackedRow], Tensor], sequences: Sequence[TokenSequence], max_tokens: int
) -> list[list[float]]:
    """Return the rewards at each sequence's reads; what sequences share at their beginning is computed once.

    Args:
        score_row: Returns the rewards of a row, `[num_reads]`, such as a `PackedScorer` in eval mode.
        sequences: In any order. Equal ones have equal rewards, to the last bit.
        max_tokens: About the tokens of a row; see `group_alike`.
    """
    keys = [(tuple(sequence.ids), sequence.reads) for sequence in sequences]
    distinct = list(dict.fromkeys(keys))
    members = [TokenSequence(*key) for key in distinct]
    groups = group_alike(members, max_tokens)
    rewards: dict[tuple[tuple[int, ...], tuple[int, ...]], list[float]] = {}
    for row in plan_rows([[members[i] for i in group] for group in groups], max_tokens).rows if groups else ():
        for group, parts in zip(row.groups, row.split(score_row(row).cpu()), strict=True):
            for index, part in zip(groups[group], parts, strict=True):
                rewards[distinct[index]] = part.tolist()
    return [rewards[key] for key in keys]
