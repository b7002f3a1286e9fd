"""Shortcuts: superficial properties of a conversation, and how closely a reward follows them.

- *length*: the number of characters that the assistant wrote. - *continuity*: the share of words that consecutive
replies have in common, ignoring the user. A user may change the topic; a reward that counts topic jumps punishes that.

A reward may agree with a shortcut because better replies are longer. What matters is the accuracy where the shortcut
points to the wrong side, or to neither.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from music.conversation import Conversation
from music.evaluation.diagnostics.scored_pairs import Floats, ScoredPairs
from music.report.points import Curve
from music.reward import length_reward
from music.statistics import Figure

__all__ = ["CONTINUITY", "LENGTH", "Shortcut", "follow_shortcut"]

MATCHED = 0.1
"""Sides are matched if their values differ by no more than this share of the larger one."""

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A superficial property of a conversation.

    Attributes:
        name: The name of its table.
        unit: The unit on axes.
        more: The adjective for the side that has more of it.
        measure: Returns a number for each conversation.
    """

    name: str
    unit: str
    more: str
    measure: Callable[[Sequence[Conversation]], Floats]


def follow_shortcut(pairs: ScoredPairs, shortcut: Shortcut) -> tuple[list[Figure], list[Curve]]:
    """Return how well a shortcut alone ranks, how the reward correlates with it, and accuracy where it misleads.

    The curves are the reward over the shortcut, and accuracy over the difference between the sides.
    """
    sides = [side for item in pairs.items for side in item.completions]
    values = shortcut.measure(sides).reshape(-1, 2)
    table, unit = shortcut.name, shortcut.unit
    gap = f"{table}, chosen less rejected ({unit})"
    return _figures(pairs, shortcut, values), [
        pairs.reward_curve(f"reward by {table}", table, f"{table} ({unit})", values),
        pairs.accuracy_curve(f"accuracy by {table}", table, gap, values[:, 0] - values[:, 1]),
    ]


def _figures(pairs: ScoredPairs, shortcut: Shortcut, values: Floats) -> list[Figure]:
    table, more = shortcut.name, shortcut.more
    gaps = values[:, 0] - values[:, 1]
    right, wrong = (pairs.hits, gaps > 0), (pairs.hits, gaps < 0)
    matched = np.abs(gaps) <= MATCHED * values.max(axis=1)
    alone, ties_half = (np.sign(gaps) + 1) / 2, "ties count half"
    within = f"sides within {MATCHED:.0%} of each other"
    return [
        pairs.share(f"if the {more} side always won", table, alone, chance=0.5, note=ties_half),
        pairs.accuracy(f"where the {more} side is chosen", table, right[1]),
        pairs.accuracy(f"where the {more} side is rejected", table, wrong[1]),
        pairs.of_means(
            f"{more} chosen less {more} rejected", table, [right, wrong], lambda m: m[:, 0] - m[:, 1], null=0.0
        ),
        pairs.of_means("both kinds weighed alike", table, [right, wrong], lambda m: m.mean(axis=1), null=None),
        pairs.accuracy("matched", table, matched, note=within),
        pairs.correlation("rank correlation, reward", table, pairs.rewards, values, note="over all sides"),
        pairs.correlation("rank correlation, margin", table, pairs.margins, gaps, note="chosen less rejected"),
    ]


def _continuity(conversations: Sequence[Conversation]) -> Floats:
    """Return the mean share of words that consecutive replies have in common, weighted by rarity; 0 for one reply."""
    replies = [
        [frozenset(_WORD.findall(m.content.casefold())) for m in conversation.messages if m.role == "assistant"]
        for conversation in conversations
    ]
    counts = Counter(word for each in replies for words in each for word in words)
    num_replies = sum(map(len, replies))
    rarity = {word: math.log((1 + num_replies) / num) for word, num in counts.items()}

    def shared(one: frozenset[str], other: frozenset[str]) -> float:
        together = math.fsum(rarity[word] for word in one | other)
        return math.fsum(rarity[word] for word in one & other) / together if together else 0.0

    shares = [[shared(one, other) for one, other in pairwise(each)] for each in replies]
    return np.array([math.fsum(each) / len(each) if each else 0.0 for each in shares])


LENGTH = Shortcut("length", "characters", "longer", lambda conversations: np.array(length_reward(conversations)))
CONTINUITY = Shortcut("continuity", "share of words in common with the reply before", "more continuous", _continuity)
