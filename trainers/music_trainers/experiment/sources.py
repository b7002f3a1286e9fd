"""Sources: preference-pair files from which arms draw training pairs."""

import random
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b

from pydantic import Field

from music.config import Config
from music.conversation import Conversation
from music.errors import InvalidInputError
from music.pairs import PreferencePair
from music.preferences import read_preferences
from music.seeding import derive_seed
from music_trainers.experiment.measures import prompts_of

__all__ = ["PairKey", "Source", "SourcePairs", "conversation_key", "drawn_order", "forget_sources", "pair_key"]
__all__ += ["read_source"]

PairKey = bytes
"""The keys of both sides of a pair."""


class Source(Config):
    """Pairs of one origin, declared in `[sources.NAME]`."""

    files: tuple[str, ...] = Field(min_length=1)
    """Files, folders or hub ids of preference pairs, in any format that `music train` reads."""
    weight: float = Field(default=1.0, gt=0, le=1000)
    """Weight of each of its pairs in the loss."""

    @property
    def named(self) -> str:
        """The names of its files, for messages."""
        return ", ".join(self.files)


@dataclass(frozen=True, slots=True)
class SourcePairs:
    """The pairs of a source.

    Attributes:
        pairs: At least one.
        prompts: The keys of the first user messages of each pair's sides; see `prompts_of`.
    """

    pairs: tuple[PreferencePair, ...]
    prompts: tuple[tuple[str, ...], ...]


@cache
def read_source(name: str, source: Source) -> SourcePairs:
    """Return the pairs of a source, which are read once per process.

    Raises:
        InvalidInputError: A file cannot be read or has no pairs; the message names the source's key.
    """
    try:
        pairs = tuple(pair for file in source.files for pair in read_preferences(file).pairs)
    except InvalidInputError as error:
        raise InvalidInputError(f"sources.{name}.files: {error}") from error
    if not pairs:
        raise InvalidInputError(f"sources.{name}.files: expected preference pairs, got none in {source.named}")
    return SourcePairs(pairs, tuple(prompts_of([pair.chosen, pair.rejected]) for pair in pairs))


def forget_sources() -> None:
    """Read all files again when they are asked for: they may have changed."""
    read_source.cache_clear()


def drawn_order(name: str, num: int, seed: int) -> list[int]:
    """Return the indices of a source's pairs in the order in which a seed draws them."""
    return random.Random(derive_seed("pairs", name, seed)).sample(range(num), num)


def conversation_key(conversation: Conversation) -> bytes:
    """Return a hash of a conversation's messages."""
    return blake2b(conversation.model_dump_json().encode(), digest_size=16).digest()


def pair_key(pair: PreferencePair) -> PairKey:
    """Return the hashes of both sides of a pair."""
    return conversation_key(pair.chosen) + conversation_key(pair.rejected)
