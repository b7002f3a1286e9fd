"""Seeds: what simulated pairs grow from, and their reading from files.

A seed is the chosen side of a preference pair, a conversation, or a prompt: a conversation that ends with the user.
What both sides of a pair take from it is told in `music_agents.seed_contexts`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.pairs import PreferencePair
from music.preferences.prompts import read_prompts
from music.preferences.said import Consecutive
from music.preferences.shapes import parse_format

__all__ = ["SANDBOX", "Seed", "SeedSet", "digest_seeds", "read_seeds"]

SANDBOX = "sandbox"
"""In place of a file: seeds of the sandbox's world."""
NUM_SANDBOX_SEEDS = 1000


@dataclass(frozen=True, slots=True)
class Seed:
    """What pairs grow from.

    Attributes:
        id: Of the preference pair or row.
        conversation: The chosen side, the conversation or the prompt; it holds a message of the user's at least.
        source: Where it is from.
    """

    id: str
    conversation: Conversation
    source: str = ""

    def __post_init__(self) -> None:
        """Check that there is something to go on from."""
        if not self.conversation.messages or self.conversation.messages[-1].role == "system":
            raise InvalidInputError(f"seed {self.id!r}: expected at least one message by the user, got none")

    @classmethod
    def of(cls, seed: "Seed | PreferencePair") -> "Seed":
        """Return a seed; of a preference pair that is its chosen side."""
        return seed if isinstance(seed, Seed) else cls(seed.id, seed.chosen, seed.source)


@dataclass(frozen=True, slots=True)
class SeedSet:
    """The seeds of a source.

    Attributes:
        seeds: In order.
        summary: What was read, and what was left out and why, in a line.
    """

    seeds: tuple[Seed, ...]
    summary: str

    @classmethod
    def of_pairs(cls, pairs: Sequence[PreferencePair], summary: str) -> Self:
        """Return the seeds of preference pairs."""
        return cls(tuple(map(Seed.of, pairs)), summary)


def read_seeds(
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
        from music.sandbox.seeds import seed_pairs

        return SeedSet.of_pairs(seed_pairs(NUM_SANDBOX_SEEDS, 0), f"{NUM_SANDBOX_SEEDS:,} pairs of the sandbox")
    found = read_prompts(source, format=parse_format(format), split=split, strict=strict, consecutive=consecutive)
    if not found.prompts:
        raise InvalidInputError(
            f"expected at least one usable pair, conversation or prompt, got none: {found.summary()}"
        )
    return SeedSet(tuple(Seed(one.id, one.conversation, one.source) for one in found.prompts), found.summary())


def digest_seeds(seeds: Sequence[Seed | PreferencePair]) -> str:
    """Return a fingerprint of what a run takes from its seeds, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for seed in map(Seed.of, seeds):
        digest.update(repr((seed.id, seed.source)).encode())
        for message in seed.conversation.messages:
            digest.update(f"\0{message.role}\0{message.content}".encode())
    return digest.hexdigest()
