"""`split_pairs` holds pairs out without leakage: the pairs of one seed conversation stay together."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.pairs import ContrastivePair, PreferencePair

__all__ = ["PairSplit", "held_out_indices", "opening_key", "seed_key", "split_pairs"]


class PairSplit(NamedTuple):
    """The two sides of a split, each in the order of the pairs given."""

    train: tuple[PreferencePair, ...]
    held_out: tuple[PreferencePair, ...]


def split_pairs(pairs: Sequence[PreferencePair], fraction: float, seed: int = 0) -> PairSplit:
    """Hold out about `fraction` of the pairs, and never more.

    Example:
        >>> from music.sandbox.world.seeds import seed_pairs
        >>> train, held_out = split_pairs(seed_pairs(10, 0), fraction=0.2)
        >>> len(train), len(held_out)
        (8, 2)

    Pairs with the same first user message (ignoring blanks and case) stay together, for example a pair and all pairs
    that were simulated from it. A pair whose first user message was simulated is grouped by its `seed_id`. The split
    depends on the pairs and the seed, but not on the order of the pairs.

    Raises:
        InvalidInputError: The fraction is not within [0, 1), or the pairs have too few seed conversations for it.
    """
    if not 0 <= fraction < 1:
        raise InvalidInputError(f"expected a held-out fraction within [0, 1), got {fraction}")
    keys = [seed_key(pair) for pair in pairs]
    held_out = held_out_indices(keys, fraction, seed)
    if fraction > 0 and not held_out:
        sizes = Counter(keys)
        enough = math.ceil(1000 * min(sizes.values(), default=0) / max(1, len(pairs))) / 1000
        larger = f"a fraction of at least {enough:g} (--eval-fraction), " if 0 < enough < 1 else ""
        raise InvalidInputError(
            f"{len(pairs)} pairs (seed conversations: {len(sizes)}) are too few to hold out {fraction:g} of them: "
            f"give more pairs, {larger}held-out pairs of your own (--eval), or train without any (--eval-fraction 0)"
        )
    return PairSplit(
        train=tuple(pair for index, pair in enumerate(pairs) if index not in held_out),
        held_out=tuple(pairs[index] for index in sorted(held_out)),
    )


def held_out_indices(keys: Sequence[str], fraction: float, seed: int = 0) -> set[int]:
    """Return the indices of about `fraction` of the items, and never more; items with the same key stay together.

    Args:
        keys: The key of each item.
        fraction: The share of the items, within [0, 1).
        seed: Determines which keys are held out.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        groups[key].append(index)
    target = int(fraction * len(keys))
    held_out: set[int] = set()
    for key in sorted(groups, key=lambda key: sha256(f"{seed}/{key}".encode()).digest()):
        if len(held_out) + len(groups[key]) <= target:
            held_out.update(groups[key])
    return held_out


def seed_key(pair: PreferencePair) -> str:
    """Return a key that all pairs of one seed conversation share: its first user message, or its `seed_id`."""
    if isinstance(pair, ContrastivePair) and not _is_of_conversation(pair):
        return opening_key(pair.chosen.prefix(pair.num_seed_messages)) or f"seed_id/{pair.seed_id}"
    return opening_key(pair.chosen)


def _is_of_conversation(pair: ContrastivePair) -> bool:
    """Whether a pair repeats the user's messages of a conversation, as swapped pairs do."""
    return any(contrast.strategy == "swap" for contrast in pair.contrasts)


def opening_key(conversation: Conversation) -> str:
    """Return the first user message of a conversation, ignoring blanks and case."""
    text = next((m.content for m in conversation.messages if m.role == "user"), "")
    return " ".join(text.casefold().split())
