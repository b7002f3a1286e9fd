"""What a set of pairs gives away, whatever the model: lengths, turns, duplicates."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from music.conversation import Conversation
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
    """Pairs that say again what another of the set says."""

    model_config = ConfigDict(frozen=True)

    num_repeated: int
    """Pairs that are the same as an earlier one."""
    num_contradicted: int
    """Pairs that also stand in the set the other way round."""
    num_same_seed: int
    """Pairs whose first user message begins an earlier pair too; such pairs are one unit of every interval."""
    num_near_seed: int
    """Prompts whose first user message is nearly that of an earlier one; intervals take them for independent."""
    examples: tuple[SeedMatch, ...]
    """The first of the near-duplicates."""


class PairSet(BaseModel):
    """A set of pairs."""

    model_config = ConfigDict(frozen=True)

    num_pairs: int
    num_prompts: int
    """Seed conversations; the units that intervals resample."""
    num_multi_turn: int
    """Pairs with several turns on both sides."""
    figures: tuple[Figure, ...]
    histograms: tuple[Histogram, ...]
    duplicates: Duplicates


def survey_pairs(items: Sequence[Item]) -> PairSet:
    """Look at a set of pairs.

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
    """Return by how much, and how often, the chosen side is the longer."""
    longer = win_rate(*_characters(items).T, clusters=prompts)
    words = np.array([[_num_words(side) for side in item.completions] for item in items], dtype=np.float64)
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


def _num_words(side: Conversation) -> int:
    return sum(len(message.content.split()) for message in side.messages if message.role == "assistant")


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
    """Count the turns, one bin for each number."""
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
    """Return, for each prompt that an earlier one is nearly the same as, the first such match."""
    index = NearDuplicates([first_message(item.completions[0]) for item in firsts])
    matches: list[SeedMatch] = []
    for place, item in enumerate(firsts):
        found = next(index.find(first_message(item.completions[0])), None)
        if found is not None and found[0] < place:
            other = firsts[found[0]]
            matches.append(seed_match(item, other.id, first_message(other.completions[0]), found[1]))
    return matches
