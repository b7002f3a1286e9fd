"""Leakage: what a test set shares with a training set: seeds, nearly equal seeds, sides and pairs.

Two texts are near-duplicates if the sets of their 3-word phrases overlap by half (Jaccard). The search is exact: two
such sets must share one of their rarer phrases, so only these are indexed and looked up (prefix filtering).
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from pydantic import BaseModel, ConfigDict

from music.conversation import Conversation
from music.evaluation.benchmarks.fields import prompt_key
from music.evaluation.benchmarks.types import Item
from music.evaluation.diagnostics.scored_pairs import ScoredPairs
from music.pairs import PreferencePair
from music.preferences.split import seed_key
from music.statistics import Figure

__all__ = ["Leak", "Leakage", "NearDuplicates", "SeedMatch", "find_leakage", "first_message", "leakage_figures"]
__all__ += ["phrases", "seed_match", "side_key"]

TABLE = "training set"
MAX_EXAMPLES = 10
_SHOWN_CHARACTERS = 160
PHRASE_WORDS = 3
MIN_SIMILARITY = 0.5

# Each kana or Han character counts as a word, because no spaces separate their words.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")

Phrases = frozenset[tuple[str, ...]]


def phrases(text: str) -> Phrases:
    """Return the 3-word phrases of a text, ignoring case and punctuation; a shorter text is one phrase."""
    words = _WORD.findall(text.casefold())
    if not words:
        return frozenset()
    num = max(1, len(words) - PHRASE_WORDS + 1)
    return frozenset(tuple(words[start : start + PHRASE_WORDS]) for start in range(num))


class NearDuplicates:
    """An index that finds near-duplicates of a text.

    Args:
        texts: The texts to index; a text without a word is never found.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._sets = [phrases(text) for text in texts]
        self._counts = Counter(phrase for each in self._sets for phrase in each)
        self._by_phrase: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for place, each in enumerate(self._sets):
            for phrase in self._rare(each):
                self._by_phrase[phrase].append(place)

    def find(self, text: str) -> Iterator[tuple[int, float]]:
        """Yield the place and the similarity, up to 1, of each near-duplicate of a text, in their order."""
        own = phrases(text)
        candidates = {place for phrase in self._rare(own) for place in self._by_phrase.get(phrase, ())}
        for place in sorted(candidates):
            shared = len(own & self._sets[place])
            similarity = shared / (len(own) + len(self._sets[place]) - shared)
            if similarity >= MIN_SIMILARITY:
                yield place, similarity

    def _rare(self, each: Phrases) -> list[tuple[str, ...]]:
        """Return the rarest phrases of a set; a set that is similar enough must share one of them."""
        num = len(each) - math.ceil(MIN_SIMILARITY * len(each)) + 1
        return sorted(each, key=lambda phrase: (self._counts.get(phrase, 0), phrase))[:num]


class SeedMatch(BaseModel):
    """Two seeds that are near-duplicates."""

    model_config = ConfigDict(frozen=True)

    id: str
    other_id: str
    similarity: float
    """The share of their 3-word phrases that both have."""
    text: str
    """The beginning of the first user message."""
    other_text: str


class Leakage(BaseModel):
    """What a test set shares with a training set."""

    model_config = ConfigDict(frozen=True)

    num_train_pairs: int
    num_train_prompts: int
    num_same_seed: int
    """Test pairs with the first user message of a training pair, ignoring blanks and case."""
    num_near_seed: int
    """Other test pairs whose first user message is a near-duplicate of that of a training pair."""
    num_same_side: int
    """Test pairs with a side (a whole conversation) that is a side of a training pair."""
    num_same_pair: int
    """Test pairs that are in the training set."""
    num_swapped_pair: int
    """Test pairs that are in the training set with the sides swapped."""
    examples: tuple[SeedMatch, ...]
    """The most similar near-duplicates; `other` is the training pair."""


@dataclass(frozen=True, slots=True, eq=False)
class Leak:
    """The leakage, and the test pairs that it concerns.

    Attributes:
        leakage: The numbers for the report.
        same: The ids of the pairs whose seed is in the training set.
        near: The ids of the pairs whose seed is nearly in it.
    """

    leakage: Leakage
    same: frozenset[str]
    near: frozenset[str]


def find_leakage(items: Sequence[Item], train: Iterable[PreferencePair]) -> Leak:
    """Look for a test set's pairs in a training set, which is read once and not kept in memory.

    Args:
        items: The test pairs.
        train: The training pairs.
    """
    index = NearDuplicates([first_message(item.completions[0]) for item in items])
    prompts, sides, pairs, nearest = set[str](), set[bytes](), set[tuple[bytes, bytes]](), dict[int, SeedMatch]()
    num_train = 0
    for pair in train:
        num_train += 1
        both = side_key(pair.chosen), side_key(pair.rejected)
        sides.update(both)
        pairs.add(both)
        if (prompt := prompt_key(seed_key(pair))) in prompts:
            continue
        prompts.add(prompt)
        text = first_message(pair.chosen)
        for place, similarity in index.find(text):
            if place not in nearest or similarity > nearest[place].similarity:
                nearest[place] = seed_match(items[place], pair.id, text, similarity)
    same = frozenset(item.id for item in items if item.prompt_id in prompts)
    near = [match for match in nearest.values() if match.id not in same]
    own = [(side_key(item.completions[0]), side_key(item.completions[1])) for item in items]
    leakage = Leakage(
        num_train_pairs=num_train,
        num_train_prompts=len(prompts),
        num_same_seed=len(same),
        num_near_seed=len(near),
        num_same_side=sum(chosen in sides or rejected in sides for chosen, rejected in own),
        num_same_pair=sum(both in pairs for both in own),
        num_swapped_pair=sum(both[::-1] in pairs for both in own),
        examples=tuple(sorted(near, key=lambda match: (-match.similarity, match.id))[:MAX_EXAMPLES]),
    )
    return Leak(leakage, same, frozenset(match.id for match in near))


def leakage_figures(pairs: ScoredPairs, leak: Leak) -> list[Figure]:
    """Return accuracy on pairs whose seed is in the training set, on those whose seed nearly is, and on the rest."""
    same, near = (np.array([item.id in ids for item in pairs.items]) for ids in (leak.same, leak.near))
    return [
        pairs.accuracy("seed in the training set", TABLE, same),
        pairs.accuracy("seed nearly in it", TABLE, near),
        pairs.accuracy("neither", TABLE, ~(same | near), note="unseen in training"),
    ]


def first_message(conversation: Conversation) -> str:
    """Return the first user message; empty if there is none."""
    return next((message.content for message in conversation.messages if message.role == "user"), "")


def side_key(conversation: Conversation) -> bytes:
    """Return a hash of a conversation's messages, to find equal conversations without keeping them in memory."""
    digest = blake2b(digest_size=16)
    for message in conversation.messages:
        digest.update(f"{message.role} {len(message.content)} {message.content}".encode())
    return digest.digest()


def seed_match(item: Item, other_id: str, other_text: str, similarity: float) -> SeedMatch:
    """Return a match, with the beginnings of both texts."""
    texts = (" ".join(text.split())[:_SHOWN_CHARACTERS] for text in (first_message(item.completions[0]), other_text))
    return SeedMatch(
        id=item.id, other_id=other_id, similarity=round(similarity, 3), text=next(texts), other_text=next(texts)
    )
