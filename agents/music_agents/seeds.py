"""Seeds of a run, and the seed contexts that the two sides of a pair share (paper, Algorithm 1, step 1).

| the seed | the context | the first user message |
|---|---|---|
| a preference pair | a prefix of its chosen side that ends with the assistant, drawn for each index | simulated |
| a conversation that ends with the assistant | likewise | simulated |
| a prompt: it ends with the user | all messages before that one, perhaps none | the prompt's last message |
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from music.conversation import Conversation, Message
from music.errors import InvalidInputError
from music.llm.sanitise import neutralise
from music.pairs import PreferencePair
from music.preferences import Consecutive, Seed, SeedSet, parse_format, read_seeds
from music.registry import SANDBOX, load_built_in
from music.seeding import derive_seed

__all__ = ["Seed", "SeedContext", "SeedContexts", "SeedSet", "digest_seeds", "load_seeds"]
__all__ += ["neutralised"]

NUM_SANDBOX_SEEDS = 1000


def load_seeds(
    source: str,
    format: str | None = None,
    split: str | None = None,
    consecutive: str = Consecutive.REFUSE,
    strict: bool = False,
) -> SeedSet:
    """Read the seeds of a file, folder or hub id, or draw the sandbox's.

    Rows are preference pairs, conversations or prompts, of any shape that `music.preferences` knows.

    Args:
        source: The file, folder or hub id; or `sandbox`.
        format: Shape of all rows; None to detect it.
        split: Which split of a folder or hub data set.
        consecutive: How two messages in a row by one speaker are treated: refused or merged.
        strict: Whether the first unusable row is an error.

    Raises:
        InvalidInputError: The source cannot be read, or none of its rows is usable.
    """
    if source == SANDBOX:
        drawn = load_built_in("seeds", SANDBOX)(NUM_SANDBOX_SEEDS, 0)
        return SeedSet(tuple(map(Seed.of, drawn)), f"{NUM_SANDBOX_SEEDS:,} pairs of the sandbox")
    found = read_seeds(
        source, format=parse_format(format), split=split, strict=strict, consecutive=Consecutive(consecutive)
    )
    if not found.seeds:
        raise InvalidInputError(f"expected at least one usable pair, conversation or prompt, got none: {found.summary}")
    return found


def digest_seeds(seeds: Sequence[Seed | PreferencePair]) -> str:
    """Return a fingerprint of the parts of the seeds that a run uses, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for seed in map(Seed.of, seeds):
        digest.update(repr((seed.id, seed.source)).encode())
        for message in seed.conversation.messages:
            digest.update(f"\0{message.role}\0{message.content}".encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedContext:
    """One seed context. Chat templates' control tokens are neutralised in it, as they are in replies.

    Attributes:
        conversation: The beginning of both sides; the user speaks next.
        opening: The user's first message on both sides; empty if it is simulated.
        seed: The seed that it is taken from.
    """

    conversation: Conversation
    opening: str = ""
    seed: Seed


class SeedContexts:
    """The seed context of every pair of a run, by index.

    The seeds are used in an order drawn from the run's seed, and again from the start after the last one. A seed that
    ends with the assistant is cut after one of its assistant messages, drawn uniformly for every index.
    """

    def __init__(self, seeds: Sequence[Seed | PreferencePair], run_seed: int) -> None:
        if not seeds:
            raise InvalidInputError("expected at least one preference pair or prompt to start from, got none")
        self._seeds = [Seed.of(seed) for seed in seeds]
        self._run_seed = run_seed
        self._order = list(range(len(seeds)))
        random.Random(derive_seed(run_seed, "order")).shuffle(self._order)

    def __getitem__(self, index: int) -> SeedContext:
        """Return the seed context of the pair with this index (any index from 0)."""
        seed = self._seeds[self._order[index % len(self._order)]]
        conversation = seed.conversation
        *before, last = conversation.messages
        if last.role == "user":
            context = neutralised(conversation.prefix(len(before)))
            return SeedContext(conversation=context, opening=neutralise(last.content), seed=seed)
        end = random.Random(derive_seed(self._run_seed, index, "prefix")).choice(conversation.turn_ends)
        return SeedContext(conversation=neutralised(conversation.prefix(end)), seed=seed)


def neutralised(conversation: Conversation) -> Conversation:
    """Return a conversation without control tokens; the same object if it has none."""
    texts = [neutralise(message.content) for message in conversation.messages]
    if all(text == message.content for text, message in zip(texts, conversation.messages, strict=True)):
        return conversation
    messages = zip(conversation.messages, texts, strict=True)
    return Conversation(messages=tuple(Message(role=message.role, content=text) for message, text in messages))
