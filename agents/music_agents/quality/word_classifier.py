"""How far words alone reveal which reply of a turn is the chosen one, without a look at what was asked.

A reward model may learn such words instead of quality. How much there is to learn is measured by a small classifier
that sees two replies of one turn as bags of words. A word that stands in only one of them votes for the side on which
it stood more often in the pairs of other seeds, by its log-odds (naive Bayes). 0.5 is chance; a side that is mostly
longer is recognised, too.
"""

import hashlib
import heapq
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from music.pairs import ContrastivePair
from music.statistics import MeanInterval, RunningMean
from music_agents.quality.gates import simulated_replies

__all__ = ["MIN_PAIRS", "ShortcutWord", "WordSample", "WordShortcuts"]

MIN_PAIRS = 50
"""Fewer pairs say nothing of words."""
MAX_PAIRS = 2000
"""So many pairs, drawn by their ids, stand for larger sets."""
NUM_FOLDS = 5
SMOOTHING = 5.0
"""Added to both counts of a word, so that rare words hardly vote."""
MIN_Z = 5.0
"""A listed word is so many standard errors from even, as thousands of words are looked at."""
MAX_LISTED = 10
OPENING_WORDS = 3

_WORD = re.compile(r"\w+(?:'\w+)?")


class ShortcutWord(BaseModel):
    """A word, or an opening phrase, that stands on one side more than on the other."""

    model_config = ConfigDict(frozen=True)

    text: str
    log_odds: float
    """Above 0 for the chosen side."""
    num_chosen: int
    """Turns in which only the chosen reply has it."""
    num_rejected: int
    """Turns in which only the rejected reply has it."""


class WordShortcuts(BaseModel):
    """What the words of replies give away in the contrasted turns."""

    model_config = ConfigDict(frozen=True)

    accuracy: MeanInterval
    """How often words alone reveal the chosen reply of a turn, cross-validated over seeds; 0.5 is chance."""
    num_pairs: int
    """Pairs looked at."""
    words: tuple[ShortcutWord, ...]
    """Words that stand out, the surest first."""
    openings: tuple[ShortcutWord, ...]
    """First three words of a reply that stand out, the surest first."""


@dataclass(order=True, slots=True)
class _Sampled:
    """The contrasted turns of one pair; pairs are ordered by the draw alone."""

    draw: int
    seed_id: str = field(compare=False)
    turns: tuple[tuple[str, str], ...] = field(compare=False)


class WordSample:
    """Takes pairs one at a time and keeps those with the highest draws, whatever the order that they come in."""

    def __init__(self) -> None:
        self._kept: list[_Sampled] = []

    def add(self, pair: ContrastivePair) -> None:
        """Take one pair."""
        draw = int.from_bytes(hashlib.blake2b(pair.id.encode(), digest_size=8).digest())
        if len(self._kept) < MAX_PAIRS:
            heapq.heappush(self._kept, _Sampled(draw, pair.seed_id, _contrasted(pair)))
        elif draw > self._kept[0].draw:
            heapq.heapreplace(self._kept, _Sampled(draw, pair.seed_id, _contrasted(pair)))

    def shortcuts(self) -> WordShortcuts | None:
        """Return what the words give away; None if there are too few pairs to say."""
        pairs = [pair for pair in sorted(self._kept) if pair.turns]
        if len(pairs) < MIN_PAIRS:
            return None
        words = _TurnWords(pairs)
        listed = words.listed()
        return WordShortcuts(
            accuracy=words.accuracy(),
            num_pairs=len(pairs),
            words=tuple(word for word in listed if " " not in word.text)[:MAX_LISTED],
            openings=tuple(word for word in listed if " " in word.text)[:MAX_LISTED],
        )


class _TurnWords:
    """Which words stand in only one of the two replies of each turn, as a sparse matrix.

    The weights of words are log-odds by naive Bayes (Bernoulli), with a document for each side of a turn. A turn is
    decided by the sum over the words of the one side alone, less that of the other's.
    """

    def __init__(self, pairs: Sequence[_Sampled]) -> None:
        from sklearn.feature_extraction.text import CountVectorizer

        turns = [(owner, pair.seed_id, *turn) for owner, pair in enumerate(pairs) for turn in pair.turns]
        vectorizer = CountVectorizer(analyzer=_words, dtype=np.int64)
        counts = vectorizer.fit_transform([text for _, _, *replies in turns for text in replies])
        self._signs = counts[0::2] - counts[1::2]
        """1 for a word of the chosen side alone, -1 for one of the other; shape `[turns, words]`."""
        self._vocabulary: list[str] = vectorizer.get_feature_names_out().tolist()
        self._owners = np.array([owner for owner, *_ in turns])
        self._folds = np.array([_fold(seed_id) for _, seed_id, *_ in turns])

    def accuracy(self) -> MeanInterval:
        """Decide the turns of each fold by the words of the others."""
        scores = np.zeros(len(self._owners))
        for fold in np.unique(self._folds):
            held_out = self._folds == fold
            scores[held_out] = self._signs[held_out] @ self._log_odds(~held_out)
        right = 0.5 + 0.5 * np.sign(np.round(scores, 9))
        mean = RunningMean()
        for value in np.bincount(self._owners, right) / np.bincount(self._owners):
            mean.add(float(value))
        return mean.share()

    def listed(self) -> list[ShortcutWord]:
        """Return what stands out, the surest first."""
        chosen, rejected = (np.asarray((self._signs == sign).sum(axis=0)).ravel() for sign in (1, -1))
        z = (chosen - rejected) / np.sqrt(np.maximum(chosen + rejected, 1))
        found = sorted((-abs(z[i]), self._vocabulary[i], i) for i in np.flatnonzero(np.abs(z) >= MIN_Z))
        odds = self._log_odds(np.ones(len(self._owners), bool))
        return [
            ShortcutWord(
                text=text, log_odds=round(float(odds[i]), 3), num_chosen=int(chosen[i]), num_rejected=int(rejected[i])
            )
            for _, text, i in found
        ]

    def _log_odds(self, turns: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return how much each word speaks for the chosen side, learnt from some turns; shape `[words]`."""
        from scipy.sparse import vstack
        from sklearn.naive_bayes import BernoulliNB

        signs = self._signs[turns]
        num_turns, num_words = signs.shape
        if not num_turns:
            return np.zeros(num_words)
        sides = vstack([signs == -1, signs == 1])
        model = BernoulliNB(alpha=SMOOTHING).fit(sides, np.repeat([0, 1], num_turns))
        rejected, chosen = model.feature_log_prob_
        return np.asarray(chosen - rejected)


def _contrasted(pair: ContrastivePair) -> tuple[tuple[str, str], ...]:
    """Return the replies of the contrasted turns; elsewhere the sides differ by luck."""
    turns = {contrast.turn for contrast in pair.contrasts}
    return tuple(replies for turn, replies in enumerate(simulated_replies(pair)) if turn in turns)


def _words(text: str) -> set[str]:
    """Return the distinct words of a reply, and its opening as one more, which holds spaces."""
    words: list[str] = _WORD.findall(text.lower())
    return {*words, " ".join([*words[:OPENING_WORDS], "..."])}


def _fold(seed_id: str) -> int:
    """Return the fold of a seed; pairs of one seed share words, so they share a fold."""
    return hashlib.blake2b(seed_id.encode(), digest_size=1).digest()[0] % NUM_FOLDS
