"""Leakage: what of a test set the training set has: seeds, exactly or nearly, whole sides, whole pairs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from pydantic import BaseModel, ConfigDict

from music.conversation import Conversation
from music.evaluation.benchmarks.fields import prompt_key
from music.evaluation.benchmarks.types import Item
from music.evaluation.diagnostics.near_duplicates import NearDuplicates
from music.evaluation.diagnostics.scored_pairs import Mask, ScoredPairs
from music.pairs import PreferencePair
from music.preferences.split import seed_key
from music.statistics import Figure

__all__ = ["Leak", "Leakage", "SeedMatch", "find_leakage", "first_message", "leakage_figures", "side_key"]

TABLE = "training set"
MAX_EXAMPLES = 10
_SHOWN_CHARACTERS = 160


class SeedMatch(BaseModel):
    """Two seeds that are near-duplicates."""

    model_config = ConfigDict(frozen=True)

    id: str
    other_id: str
    similarity: float
    """WeightedMean of their 3-word phrases that they have in common."""
    text: str
    """The beginning of the first user message."""
    other_text: str


class Leakage(BaseModel):
    """What of a test set the training set has."""

    model_config = ConfigDict(frozen=True)

    num_train_pairs: int
    num_train_prompts: int
    num_same_seed: int
    """Test pairs whose first user message begins a training pair too, blanks and case aside."""
    num_near_seed: int
    """Of the others, those whose first user message is nearly that of a training pair."""
    num_same_side: int
    """Test pairs of which a side, a whole conversation, stands in the training set on either side."""
    num_same_pair: int
    """Test pairs that stand in the training set as they are."""
    num_swapped_pair: int
    """Test pairs that stand in the training set the other way round."""
    examples: tuple[SeedMatch, ...]
    """The nearest of the near-duplicates; `other` is the training pair."""


@dataclass(frozen=True, slots=True, eq=False)
class Leak:
    """What was found, and of which pairs.

    Attributes:
        leakage: For the report.
        same: Pairs whose seed the training set has, by id.
        near: Pairs whose seed it nearly has, by id.
    """

    leakage: Leakage
    same: frozenset[str]
    near: frozenset[str]


def find_leakage(items: Sequence[Item], train: Iterable[PreferencePair]) -> Leak:
    """Look for a test set's pairs in a training set, which is gone through once and not kept.

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
        if (prompt := prompt_key(seed_key(pair))) not in prompts:
            prompts.add(prompt)
            _keep_nearest(nearest, index, items, pair)
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
    """Return accuracy on the pairs whose seed was trained on, on those that come near, and on the rest."""
    same, near = (_mask(pairs, ids) for ids in (leak.same, leak.near))
    return [
        pairs.accuracy("seed in the training set", TABLE, same),
        pairs.accuracy("seed nearly in it", TABLE, near),
        pairs.accuracy("neither", TABLE, ~(same | near), note="unseen in training"),
    ]


def first_message(conversation: Conversation) -> str:
    """Return the first message of the user."""
    return next((message.content for message in conversation.messages if message.role == "user"), "")


def side_key(conversation: Conversation) -> bytes:
    """Name a conversation by its messages, so that equal ones are found without keeping them."""
    digest = blake2b(digest_size=16)
    for message in conversation.messages:
        digest.update(f"{message.role} {len(message.content)} {message.content}".encode())
    return digest.digest()


def seed_match(item: Item, other_id: str, other_text: str, similarity: float) -> SeedMatch:
    """Return a match with both texts cut short."""
    texts = (" ".join(text.split())[:_SHOWN_CHARACTERS] for text in (first_message(item.completions[0]), other_text))
    return SeedMatch(
        id=item.id, other_id=other_id, similarity=round(similarity, 3), text=next(texts), other_text=next(texts)
    )


def _keep_nearest(
    nearest: dict[int, SeedMatch], index: NearDuplicates, items: Sequence[Item], pair: PreferencePair
) -> None:
    """Keep, for each test pair, the training pair whose seed is the nearest."""
    text = first_message(pair.chosen)
    for place, similarity in index.find(text):
        if place not in nearest or similarity > nearest[place].similarity:
            nearest[place] = seed_match(items[place], pair.id, text, similarity)


def _mask(pairs: ScoredPairs, ids: frozenset[str]) -> Mask:
    return np.array([item.id in ids for item in pairs.items])
