"""How often words alone, without the request, reveal which reply of a turn is the chosen one.

A reward model may learn such words instead of quality. A small classifier measures how much there is to learn. It sees
the two replies of a turn as bags of words. A word that is in only one of them votes, by its log-odds (naive Bayes), for
the side on which it is more frequent in the pairs of other seeds. Chance is 0.5. The classifier also recognises a side
that is mostly longer.
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
"""With fewer pairs, words are not examined."""
MAX_PAIRS = 2000
"""Larger sets are represented by this many pairs, drawn by their ids."""
NUM_FOLDS = 5
SMOOTHING = 5.0
"""Added to both counts of a word, so that rare words hardly vote."""
MIN_Z = 5.0
"""A listed word is this many standard errors from even, because thousands of words are examined."""
MAX_LISTED = 10
OPENING_WORDS = 3

_WORD = re.compile(r"\w+(?:'\w+)?")


class ShortcutWord(BaseModel):
    """A word, or an opening phrase, that is more frequent on one side than on the other."""

    model_config = ConfigDict(frozen=True)

    text: str
    log_odds: float
    """Positive for the chosen side."""
    num_chosen: int
    """Turns in which only the chosen reply has it."""
    num_rejected: int
    """Turns in which only the rejected reply has it."""


class WordShortcuts(BaseModel):
    """What the words of replies reveal in the contrasted turns."""

    model_config = ConfigDict(frozen=True)

    accuracy: MeanInterval
    """How often words alone reveal the chosen reply of a turn, cross-validated over seeds; 0.5 is chance."""
    num_pairs: int
    """Number of pairs examined."""
    words: tuple[ShortcutWord, ...]
    """Words that differ most between the sides, most significant first."""
    openings: tuple[ShortcutWord, ...]
    """First three words of replies that differ most between the sides, most significant first."""


@dataclass(order=True, slots=True)
class _Sampled:
    """The contrasted turns of one pair, ordered by the draw alone."""

    draw: int
    seed_id: str = field(compare=False)
    turns: tuple[tuple[str, str], ...] = field(compare=False)


class WordSample:
    """Keeps the pairs with the highest draws, whatever the order in which pairs are added."""

    def __init__(self) -> None:
        self._kept: list[_Sampled] = []

    def add(self, pair: ContrastivePair) -> None:
        """Add one pair."""
        draw = int.from_bytes(hashlib.blake2b(pair.id.encode(), digest_size=8).digest())
        if len(self._kept) < MAX_PAIRS:
            heapq.heappush(self._kept, _Sampled(draw, pair.seed_id, _contrasted(pair)))
        elif draw > self._kept[0].draw:
            heapq.heapreplace(self._kept, _Sampled(draw, pair.seed_id, _contrasted(pair)))

    def shortcuts(self) -> WordShortcuts | None:
        """Return what the words reveal; None if there are too few pairs."""
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
    """The words that are in only one of the two replies of each turn, as a sparse matrix.

    The weights of words are log-odds by naive Bayes (Bernoulli), with a document for each side of a turn. The score of
    a turn is the sum of weights over the words of one side alone, less the sum over those of the other side alone.
    """

    def __init__(self, pairs: Sequence[_Sampled]) -> None:
        from sklearn.feature_extraction.text import CountVectorizer

        turns = [(owner, pair.seed_id, *turn) for owner, pair in enumerate(pairs) for turn in pair.turns]
        vectorizer = CountVectorizer(analyzer=_words, dtype=np.int64)
        counts = vectorizer.fit_transform([text for _, _, *replies in turns for text in replies])
        self._signs = counts[0::2] - counts[1::2]
        """1 for a word of the chosen side alone, -1 for one of the rejected side alone; shape `[turns, words]`."""
        self._vocabulary: list[str] = vectorizer.get_feature_names_out().tolist()
        self._owners = np.array([owner for owner, *_ in turns])
        # Pairs of one seed share words, so they share a fold.
        digests = (hashlib.blake2b(seed_id.encode(), digest_size=1).digest() for _, seed_id, *_ in turns)
        self._folds = np.array([digest[0] % NUM_FOLDS for digest in digests])

    def accuracy(self) -> MeanInterval:
        """Return the accuracy on each fold's turns with the weights of the other folds."""
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
        """Return the words that differ between the sides, most significant first."""
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
        """Return each word's log-odds for the chosen side, learnt from some turns; shape `[words]`."""
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
    """Return the replies of the contrasted turns; in other turns the sides differ by chance."""
    turns = {contrast.turn for contrast in pair.contrasts}
    return tuple(replies for turn, replies in enumerate(simulated_replies(pair)) if turn in turns)


def _words(text: str) -> set[str]:
    """Return the distinct words of a reply, and its opening as one more, which contains spaces."""
    words: list[str] = _WORD.findall(text.lower())
    return {*words, " ".join([*words[:OPENING_WORDS], "..."])}
