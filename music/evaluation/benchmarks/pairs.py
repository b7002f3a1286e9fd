"""What benchmarks of pairs have in common: the pair of a row in any format, and the item of a pair."""

from collections.abc import Mapping

from music.conversation import Conversation
from music.evaluation.benchmarks.fields import wrong
from music.evaluation.benchmarks.item import Item, Tag
from music.pairs import PreferencePair
from music.preferences.rows import read_row
from music.preferences.sources import Row

__all__ = ["pair_item", "read_pair_of"]


def read_pair_of(row: Row) -> PreferencePair:
    """Return the pair of a row, in whichever format of preferences it is.

    Raises:
        RowError: It is in none, it is bad, or it gives several pairs.
    """
    read = read_row(row)
    if read.error is not None:
        raise read.error
    if len(read.pairs) != 1:
        raise wrong(row.unit, "a row of one pair", f"{len(read.pairs)} pairs of {read.format}")
    return read.pairs[0]


def pair_item(
    id: str,
    subset: str,
    chosen: Conversation,
    rejected: Conversation,
    *,
    prompt_id: str | None = None,
    tags: Mapping[str, Tag] | None = None,
) -> Item:
    """Return the item of a pair; without `prompt_id` it is a unit of its own."""
    return Item(
        id=id,
        subset=subset,
        completions=(chosen, rejected),
        labels=(1.0, 0.0),
        prompt_id=id if prompt_id is None else prompt_id,
        tags=tags or {},
    )
