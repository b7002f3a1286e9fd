"""Shortcuts: properties of a reply that can be seen without understanding it, and how far a reward follows them.

- *length*: characters that the assistant wrote. - *continuity*: what consecutive replies share of their words, blind to
the user. A conversation may well change its topic; a reward that counts topic jumps punishes that.

A reward that knows quality may agree with a shortcut, as better replies may be longer. What matters is the accuracy
where the shortcut points to the wrong side, and where it points nowhere.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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
    """Something of a conversation that is measured without reading it.

    Attributes:
        name: Its table's name.
        unit: For axes.
        more: Which side has more of it, in a word.
        measure: From conversations to a number each.
    """

    name: str
    unit: str
    more: str
    measure: Callable[[Sequence[Conversation]], Floats]


def follow_shortcut(pairs: ScoredPairs, shortcut: Shortcut) -> tuple[list[Figure], list[Curve]]:
    """Return how well a shortcut alone ranks, how the reward correlates with it, and accuracy where it misleads."""
    sides = [side for item in pairs.items for side in item.completions]
    values = shortcut.measure(sides).reshape(-1, 2)
    return _figures(pairs, shortcut, values), _curves(pairs, shortcut, values)


def _figures(pairs: ScoredPairs, shortcut: Shortcut, values: Floats) -> list[Figure]:
    table, more = shortcut.name, shortcut.more
    gaps = values[:, 0] - values[:, 1]
    right, wrong = (pairs.hits, gaps > 0), (pairs.hits, gaps < 0)
    matched = np.abs(gaps) <= MATCHED * values.max(axis=1)
    alone, ties_half = (np.sign(gaps) + 1) / 2, "ties count half"
    within = f"sides within {MATCHED:.0%} of each other"
    return [
        pairs.mean(f"if the {more} side always won", table, alone, chance=0.5, note=ties_half),
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


def _curves(pairs: ScoredPairs, shortcut: Shortcut, values: Floats) -> list[Curve]:
    """Return the reward over the shortcut, and accuracy over the gap between the sides."""
    x, gap = f"{shortcut.name} ({shortcut.unit})", f"{shortcut.name}, chosen less rejected ({shortcut.unit})"
    return [
        pairs.reward_curve(f"reward by {shortcut.name}", shortcut.name, x, values),
        pairs.accuracy_curve(f"accuracy by {shortcut.name}", shortcut.name, gap, values[:, 0] - values[:, 1]),
    ]


def _length(conversations: Sequence[Conversation]) -> Floats:
    return np.array(length_reward(conversations))


def _continuity(conversations: Sequence[Conversation]) -> Floats:
    """Return the mean share of words that consecutive replies have in common, weighed by rarity; 0 for one reply."""
    replies = [[frozenset(_WORD.findall(text.casefold())) for text in _replies(c)] for c in conversations]
    counts = Counter(word for words in (words for each in replies for words in each) for word in words)
    num_replies = sum(map(len, replies))
    rarity = {word: math.log((1 + num_replies) / num) for word, num in counts.items()}
    return np.array([_mean_shared(each, rarity) for each in replies])


def _replies(conversation: Conversation) -> Iterator[str]:
    return (message.content for message in conversation.messages if message.role == "assistant")


def _mean_shared(replies: Sequence[frozenset[str]], rarity: dict[str, float]) -> float:
    shares = [_shared(one, other, rarity) for one, other in pairwise(replies)]
    return math.fsum(shares) / len(shares) if shares else 0.0


def _shared(one: frozenset[str], other: frozenset[str], rarity: dict[str, float]) -> float:
    together = math.fsum(rarity[word] for word in one | other)
    return math.fsum(rarity[word] for word in one & other) / together if together else 0.0


LENGTH = Shortcut("length", "characters", "longer", _length)
CONTINUITY = Shortcut("continuity", "share of words in common with the reply before", "more continuous", _continuity)
