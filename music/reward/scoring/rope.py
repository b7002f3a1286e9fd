"""Rotary embeddings whose frequencies depend on the length of the sequence.

transformers picks them by the greatest position of a forward pass, for all sequences in it. In a packed row a short
conversation would be read with the frequencies of a long one. So each kind of sequence gets a pass of its own:

- `longrope` (Phi-3 and Phi-4 with 128k positions) has one set for sequences up to a boundary, and one for longer ones.
  A turn's reward is that of the conversation cut there, so a long conversation can have turns of both kinds.
- `dynamic` changes them with every length beyond the model's own, so such sequences are refused.
"""

from collections.abc import Iterator, Sequence
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
        """Read a model's configuration."""
        config = config.get_text_config()
        found = list(_parameters(getattr(config, "rope_parameters", None)))
        boundaries = [_original_length(each, config) for each in found if each["rope_type"] == "longrope"]
        is_dynamic = any("dynamic" in each["rope_type"] for each in found)
        return cls(
            boundary=min(boundaries, default=None), longest=config.max_position_embeddings if is_dynamic else None
        )


def _parameters(of_config: Any) -> Iterator[dict[str, Any]]:
    """Yield the parameters of every kind of layer."""
    if isinstance(of_config, dict):
        if "rope_type" in of_config:
            yield of_config
        else:
            for each in of_config.values():
                yield from _parameters(each)


def _original_length(parameters: dict[str, Any], config: Any) -> int:
    length = parameters.get("original_max_position_embeddings")
    return int(length or getattr(config, "original_max_position_embeddings", config.max_position_embeddings))


def split_sequence(sequence: TokenSequence, boundary: int | None) -> list[TokenSequence]:
    """Return a sequence as parts whose reads are all of one kind, in the order of its reads."""
    if boundary is None or len(sequence.ids) <= boundary or not sequence.reads:
        return [sequence]
    short = tuple(read for read in sequence.reads if read < boundary)
    parts = [TokenSequence(sequence.ids[: short[-1] + 1], short)] if short else []
    if len(short) < len(sequence.reads):
        parts.append(TokenSequence(sequence.ids, sequence.reads[len(short) :]))
    return parts


def split_row(row: PackedRow, boundary: int | None) -> list[tuple[PackedRow, Tensor]]:
    """Return one row for each kind of sequence, and the indices of its rewards among those of the whole row."""
    parts = list(_parts(row, boundary)) if boundary is not None else []
    kinds = sorted({boundary is not None and len(part.ids) > boundary for part in parts})
    if kinds in ([], [False]):
        return [(row, torch.arange(sum(len(reads) for tree in row.trees for reads in tree.reads)))]
    return [_row_of(parts, [len(part.ids) > (boundary or 0) for part in parts], kind) for kind in kinds]


def _parts(row: PackedRow, boundary: int | None) -> Iterator[TokenSequence]:
    """Yield the parts of a row's sequences, in their order."""
    for tree in row.trees:
        for leaf, reads in zip(tree.leaves, tree.reads, strict=True):
            ids = [token for segment in tree.path(leaf) for token in tree.segments[segment].ids]
            yield from split_sequence(TokenSequence(ids, reads), boundary)


def _row_of(parts: Sequence[TokenSequence], are_long: Sequence[bool], kind: bool) -> tuple[PackedRow, Tensor]:
    """Return the row of one kind of parts, and the indices of its rewards among those of all parts."""
    num_reads = [len(part.reads) for part in parts]
    places = torch.split(torch.arange(sum(num_reads)), num_reads)
    own = [number for number, is_long in enumerate(are_long) if is_long == kind]
    tree = PrefixTree.grow([parts[number] for number in own])
    return PackedRow((0,), (len(own),), (tree,)), torch.cat([places[number] for number in own])
