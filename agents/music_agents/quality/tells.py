"""Tells: words of a reply that give away which side it stands on, without a look at what was asked.

A reward model may learn such words instead of quality. How much there is to learn is measured by a small classifier
that sees two replies of one turn as bags of words. A word that stands in only one of them votes for the side on which
it stood more often in the pairs of other seeds, by its log-odds (paired naive Bayes). 0.5 is chance; a side that is
mostly longer is told too.
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
from music_agents.quality.figures import Figure, RunningMean
from music_agents.quality.gates import simulated_replies

__all__ = ["MIN_PAIRS", "Tell", "TellSample", "Tells"]

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
_Ints = NDArray[np.int64]


class Tell(BaseModel):
    """A word, or an opening phrase, that stands on one side more than on the other."""

    model_config = ConfigDict(frozen=True)

    text: str
    log_odds: float
    """Above 0 for the chosen side."""
    num_chosen: int
    """Turns in which only the chosen reply has it."""
    num_rejected: int
    """Turns in which only the rejected reply has it."""


class Tells(BaseModel):
    """What the words of replies give away in the contrasted turns."""

    model_config = ConfigDict(frozen=True)

    accuracy: Figure
    """How often words alone tell the chosen reply of a turn, cross-validated over seeds; 0.5 is chance."""
    num_pairs: int
    """Pairs looked at."""
    words: tuple[Tell, ...]
    """Words that stand out, the surest first."""
    openings: tuple[Tell, ...]
    """First three words of a reply that stand out, the surest first."""


@dataclass(order=True, slots=True)
class _Sampled:
    """The contrasted turns of one pair; pairs are ordered by the draw alone."""

    draw: int
    seed_id: str = field(compare=False)
    turns: tuple[tuple[str, str], ...] = field(compare=False)


class TellSample:
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

    def tells(self) -> Tells | None:
        """Return what the words give away; None if there are too few pairs to say."""
        pairs = [pair for pair in sorted(self._kept) if pair.turns]
        if len(pairs) < MIN_PAIRS:
            return None
        votes = _Votes(pairs)
        listed = votes.listed()
        return Tells(
            accuracy=votes.accuracy(),
            num_pairs=len(pairs),
            words=tuple(tell for tell in listed if " " not in tell.text)[:MAX_LISTED],
            openings=tuple(tell for tell in listed if " " in tell.text)[:MAX_LISTED],
        )


class _Votes:
    """The words that stand in only one of the two replies of a turn, as arrays with one entry for each."""

    def __init__(self, pairs: Sequence[_Sampled]) -> None:
        vocabulary: dict[str, int] = {}
        words, turns, signs, owners, folds = list[int](), list[int](), list[int](), list[int](), list[int]()
        for owner, pair in enumerate(pairs):
            for chosen, rejected in pair.turns:
                ours, theirs = _words(chosen), _words(rejected)
                for sign, only in ((1, ours - theirs), (-1, theirs - ours)):
                    words += [vocabulary.setdefault(word, len(vocabulary)) for word in only]
                    signs += [sign] * len(only)
                    turns += [len(owners)] * len(only)
                owners.append(owner)
                folds.append(_fold(pair.seed_id))
        self._vocabulary = list(vocabulary)
        self._words, self._turns, self._signs = np.array(words, int), np.array(turns, int), np.array(signs, int)
        self._owners, self._folds = np.array(owners, int), np.array(folds, int)

    def accuracy(self) -> Figure:
        """Tell the turns of each fold by the words of the others."""
        right = np.zeros(len(self._owners))
        fold_of_word = self._folds[self._turns]
        for fold in range(NUM_FOLDS):
            chosen, rejected = self._counts(fold_of_word != fold)
            weights = np.log((chosen + SMOOTHING) / (rejected + SMOOTHING))
            score = np.bincount(self._turns, weights[self._words] * self._signs, minlength=len(right))
            held_out = self._folds == fold
            right[held_out] = (0.5 + 0.5 * np.sign(np.round(score, 9)))[held_out]
        return _mean_over(right, self._owners)

    def listed(self) -> list[Tell]:
        """Return what stands out, the surest first."""
        chosen, rejected = self._counts(np.ones(len(self._words), bool))
        z = (chosen - rejected) / np.sqrt(np.maximum(chosen + rejected, 1))
        found = sorted((-abs(z[i]), self._vocabulary[i], i) for i in np.flatnonzero(np.abs(z) >= MIN_Z))
        odds = np.log((chosen + SMOOTHING) / (rejected + SMOOTHING))
        return [
            Tell(text=text, log_odds=round(float(odds[i]), 3), num_chosen=int(chosen[i]), num_rejected=int(rejected[i]))
            for _, text, i in found
        ]

    def _counts(self, wanted: NDArray[np.bool_]) -> tuple[_Ints, _Ints]:
        """Count for each word the turns in which only the chosen, or only the rejected reply has it; shapes `[V]`."""
        size = len(self._vocabulary)
        chosen = np.bincount(self._words[wanted & (self._signs > 0)], minlength=size)
        return chosen, np.bincount(self._words[wanted & (self._signs < 0)], minlength=size)


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


def _mean_over(values: NDArray[np.float64], owners: _Ints) -> Figure:
    """Return the mean over pairs of the mean over their turns."""
    mean = RunningMean()
    for value in np.bincount(owners, values) / np.bincount(owners):
        mean.add(float(value))
    return mean.share()
