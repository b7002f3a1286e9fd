"""Rotary embeddings whose frequencies depend on the length of the sequence.

transformers chooses the frequencies by the greatest position of a forward pass, for all sequences in it. In a packed
row a short conversation would be read with the frequencies of a long one. So each kind of sequence gets its own pass:

- `longrope` (Phi-3 and Phi-4 with 128k positions) has one set for sequences up to a boundary, and one for longer ones.
  A turn's reward is that of the conversation cut there, so a long conversation can have turns of both kinds.
- `dynamic` changes them with every length beyond the model's own, so such sequences are refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from music.reward.packing import PackedRow, PrefixTree, TokenSequence

__all__ = ["RopeLimits", "split_row", "split_sequence"]


@dataclass(frozen=True, slots=True)
class RopeLimits:
    """The lengths at which a model's frequencies change.

    Attributes:
        boundary: Most tokens of a sequence that is read with the short set; None if there is only one set.
        longest: Most tokens of any sequence; None for no bound.
    """

    boundary: int | None = None
    longest: int | None = None

    @classmethod
    def of(cls, config: Any) -> "RopeLimits":
        """Return the limits of a model by its configuration."""
        config = config.get_text_config()
        name = "original_max_position_embeddings"
        longest: Any = getattr(config, "max_position_embeddings", None)
        found = list(_parameters(getattr(config, "rope_parameters", None)))
        boundaries = [
            int(each.get(name) or getattr(config, name, longest)) for each in found if each["rope_type"] == "longrope"
        ]
        is_dynamic = any("dynamic" in each["rope_type"] for each in found)
        return cls(boundary=min(boundaries, default=None), longest=longest if is_dynamic else None)


def _parameters(of_config: Any) -> Iterator[dict[str, Any]]:
    """Yield the parameters of every kind of layer."""
    if isinstance(of_config, dict):
        if "rope_type" in of_config:
            yield of_config
        else:
            for each in of_config.values():
                yield from _parameters(each)


def split_sequence(sequence: TokenSequence, boundary: int | None) -> list[TokenSequence]:
    """Split a sequence into parts that are each read with one set of frequencies, in the order of its reads."""
    if boundary is None or len(sequence.ids) <= boundary or not sequence.reads:
        return [sequence]
    short = tuple(read for read in sequence.reads if read < boundary)
    parts = [TokenSequence(sequence.ids[: short[-1] + 1], short)] if short else []
    if len(short) < len(sequence.reads):
        parts.append(TokenSequence(sequence.ids, sequence.reads[len(short) :]))
    return parts


def split_row(row: PackedRow, boundary: int | None) -> list[tuple[PackedRow, Tensor]]:
    """Return a row for each kind of sequence, with the indices of its rewards among those of the whole row."""
    places = torch.arange(sum(len(reads) for tree in row.trees for reads in tree.reads))
    if boundary is None:
        return [(row, places)]
    parts = list(_parts(row, boundary))
    are_long = [len(part.ids) > boundary for part in parts]
    if not any(are_long):
        return [(row, places)]
    own_places = torch.split(places, [len(part.reads) for part in parts])
    rows = []
    for kind in sorted(set(are_long)):
        own = [number for number, is_long in enumerate(are_long) if is_long == kind]
        tree = PrefixTree.grow([parts[number] for number in own])
        rows.append((PackedRow((0,), (len(own),), (tree,)), torch.cat([own_places[number] for number in own])))
    return rows


def _parts(row: PackedRow, boundary: int) -> Iterator[TokenSequence]:
    """Yield the parts of a row's sequences, in their order."""
    for tree in row.trees:
        for leaf, reads in zip(tree.leaves, tree.reads, strict=True):
            ids = [token for segment in tree.path(leaf) for token in tree.segments[segment].ids]
            yield from split_sequence(TokenSequence(ids, reads), boundary)
