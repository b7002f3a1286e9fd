"""Seeds of a run: those of a file, or of the sandbox's world; and their fingerprint."""

import hashlib
from collections.abc import Sequence

from music.errors import InvalidInputError
from music.pairs import PreferencePair
from music.preferences import Consecutive, Seed, SeedSet, parse_format, read_seeds
from music.registry import SANDBOX, load_built_in

__all__ = ["Seed", "SeedSet", "digest_seeds", "load_seeds"]

NUM_SANDBOX_SEEDS = 1000


def load_seeds(
    source: str,
    format: str | None = None,
    strict: bool = False,
    split: str | None = None,
    consecutive: Consecutive = Consecutive.REFUSE,
) -> SeedSet:
    """Read the seeds of a file, folder or hub id, or draw the sandbox's.

    Rows are preference pairs, conversations or prompts, of any shape that `music.preferences` knows.

    Args:
        source: The file, folder or hub id; or `sandbox`.
        format: Shape of all rows; None to detect it.
        strict: Whether the first row that cannot be used is an error.
        split: Which split of a folder or hub data set.
        consecutive: What becomes of two messages in a row by one speaker.

    Raises:
        InvalidInputError: The source cannot be read, or not one of its rows can be used.
    """
    if source == SANDBOX:
        pairs = load_built_in("seeds", SANDBOX)(NUM_SANDBOX_SEEDS, 0)
        return SeedSet(tuple(map(Seed.of, pairs)), f"{NUM_SANDBOX_SEEDS:,} pairs of the sandbox")
    shape = parse_format(format)
    found = read_seeds(source, format=shape, split=split, strict=strict, consecutive=consecutive)
    if not found.seeds:
        raise InvalidInputError(f"expected at least one usable pair, conversation or prompt, got none: {found.summary}")
    return found


def digest_seeds(seeds: Sequence[Seed | PreferencePair]) -> str:
    """Return a fingerprint of what a run takes from its seeds, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for seed in map(Seed.of, seeds):
        digest.update(repr((seed.id, seed.source)).encode())
        for message in seed.conversation.messages:
            digest.update(f"\0{message.role}\0{message.content}".encode())
    return digest.hexdigest()
