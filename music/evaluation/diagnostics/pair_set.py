"""Properties of a set of pairs that depend on no model: lengths, turns, duplicates."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from music.evaluation.benchmarks.types import Item
from music.evaluation.diagnostics.leakage import (
    MAX_EXAMPLES,
    NearDuplicates,
    SeedMatch,
    first_message,
    seed_match,
    side_key,
)
from music.evaluation.diagnostics.scored_pairs import verdict
from music.report.points import Histogram
from music.reward import length_reward
from music.statistics import Figure, paired_difference, win_rate

__all__ = ["Duplicates", "PairSet", "survey_pairs"]

NUM_BINS = 30


class Duplicates(BaseModel):
    """The duplicates in a set of pairs."""

    model_config = ConfigDict(frozen=True)

    num_repeated: int
    """Pairs that are the same as an earlier one."""
    num_contradicted: int
    """Pairs that the set also holds with the sides swapped."""
    num_same_seed: int
    """Pairs with the first user message of an earlier pair; intervals resample such pairs together."""
    num_near_seed: int
    """Prompts whose first user message is a near-duplicate of an earlier one; intervals treat them as independent."""
    examples: tuple[SeedMatch, ...]
    """The first of the near-duplicates."""


class PairSet(BaseModel):
    """The properties of a set of pairs."""

    model_config = ConfigDict(frozen=True)

    num_pairs: int
    num_prompts: int
    """The number of seed conversations, the units that intervals resample."""
    num_multi_turn: int
    """The number of pairs with several turns on both sides."""
    figures: tuple[Figure, ...]
    histograms: tuple[Histogram, ...]
    duplicates: Duplicates


def survey_pairs(items: Sequence[Item]) -> PairSet:
    """Compute the properties of a set of pairs.

    Args:
        items: At least one pair, the chosen side first.
    """
    prompts = [item.prompt_id for item in items]
    turns = [[side.num_turns for side in item.completions] for item in items]
    return PairSet(
        num_pairs=len(items),
        num_prompts=len(set(prompts)),
        num_multi_turn=sum(min(both) > 1 for both in turns),
        figures=tuple(_lengths(items, prompts)),
        histograms=(_length_histogram(items), _turn_histogram(turns)),
        duplicates=_duplicates(items),
    )


def _lengths(items: Sequence[Item], prompts: Sequence[str]) -> list[Figure]:
    """Return how often, and by how much, the chosen side is longer."""
    longer = win_rate(*_characters(items).T, clusters=prompts)
    replies = [
        [[message.content for message in side.messages if message.role == "assistant"] for side in item.completions]
        for item in items
    ]
    words = np.array([[sum(len(text.split()) for text in side) for side in sides] for sides in replies], np.float64)
    shared = {"table": "pair set", "num_items": len(items)}
    return [
        Figure(
            name="the chosen side is the longer",
            estimate=longer,
            chance=0.5,
            note=f"{verdict(longer, 0.5)}; in characters of replies, ties count half",
            **shared,
        ),
        Figure(name="words, chosen less rejected", estimate=paired_difference(*words.T, clusters=prompts), **shared),
    ]


def _characters(items: Sequence[Item]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the characters of both sides' replies; shape `[pairs, 2]`."""
    return np.array(length_reward([side for item in items for side in item.completions])).reshape(-1, 2)


def _length_histogram(items: Sequence[Item]) -> Histogram:
    characters = _characters(items)
    edges = np.histogram_bin_edges(characters, NUM_BINS)
    counts = {
        name: tuple(np.histogram(characters[:, side], edges)[0].tolist())
        for side, name in enumerate(("chosen", "rejected"))
    }
    return Histogram(
        name="length", table="pair set", x="characters of replies", edges=tuple(edges.tolist()), counts=counts
    )


def _turn_histogram(turns: Sequence[Sequence[int]]) -> Histogram:
    """Return the histogram of the numbers of turns, one bin for each number."""
    most = max(max(both) for both in turns)
    edges = tuple(number + 0.5 for number in range(most + 1))
    counted = [Counter(both[side] for both in turns) for side in (0, 1)]
    counts = {
        name: tuple(counted[side][number] for number in range(1, most + 1))
        for side, name in enumerate(("chosen", "rejected"))
    }
    return Histogram(name="turns", table="pair set", x="turns", edges=edges, counts=counts)


def _duplicates(items: Sequence[Item]) -> Duplicates:
    pairs = Counter((side_key(item.completions[0]), side_key(item.completions[1])) for item in items)
    firsts = list({item.prompt_id: item for item in reversed(items)}.values())[::-1]
    matches = list(_near(firsts))
    return Duplicates(
        num_repeated=len(items) - len(pairs),
        num_contradicted=sum(num for both, num in pairs.items() if both[::-1] in pairs),
        num_same_seed=len(items) - len(firsts),
        num_near_seed=len(matches),
        examples=tuple(matches[:MAX_EXAMPLES]),
    )


def _near(firsts: Sequence[Item]) -> list[SeedMatch]:
    """Return the first match of each prompt that is a near-duplicate of an earlier one."""
    index = NearDuplicates([first_message(item.completions[0]) for item in firsts])
    matches: list[SeedMatch] = []
    for place, item in enumerate(firsts):
        found = next(index.find(first_message(item.completions[0])), None)
        if found is not None and found[0] < place:
            other = firsts[found[0]]
            matches.append(seed_match(item, other.id, first_message(other.completions[0]), found[1]))
    return matches
