"""`Survey`: statistics of a set of pairs that are read one at a time."""

from collections import Counter
from math import sqrt

from pydantic import BaseModel, ConfigDict

from music.pairs import ContrastivePair
from music.statistics import MeanInterval, RunningMean
from music_agents.quality.gates import simulated_replies
from music_agents.quality.texts import find_refusal
from music_agents.quality.word_classifier import WordSample

__all__ = ["LengthGap", "Personas", "Repeats", "Survey"]


class LengthGap(BaseModel):
    """The length of the chosen replies less that of the rejected replies of the same turns."""

    model_config = ConfigDict(frozen=True)

    characters: MeanInterval
    """Mean difference over turns, in characters."""
    words: MeanInterval
    """Mean difference over turns, in words."""
    standardised: float
    """The difference in words divided by the standard deviation of all replies' words."""
    longer_is_rejected: MeanInterval
    """Share of turns in which the rejected reply has more characters; a tie counts half."""


class Repeats(BaseModel):
    """Pairs that begin like an earlier pair."""

    model_config = ConfigDict(frozen=True)

    num_contexts: int
    """Pairs with the seed messages of an earlier pair; expect many if there are fewer seeds than pairs."""
    num_first_messages: int
    """Pairs with these and the same first user message after them."""


class Personas(BaseModel):
    """The personas of the users."""

    model_config = ConfigDict(frozen=True)

    num_distinct: int
    """Number of different personas."""
    num_without: int
    """Pairs without a persona."""
    most_common: int
    """Pairs of the most frequent persona."""


class Survey:
    """Counts and means that are updated with each pair.

    Attributes:
        num_pairs: Number of pairs added.
        sample: The pairs whose words are examined.
        refusals: Share of refusals among the replies of each side.
        strategies: Number of contrasted turns by strategy.
    """

    def __init__(self) -> None:
        self.num_pairs = 0
        self.sample = WordSample()
        self.refusals = {"chosen": RunningMean(), "rejected": RunningMean()}
        self.strategies: Counter[str] = Counter()
        self._characters, self._words, self._longer = RunningMean(), RunningMean(), RunningMean()
        self._reply_words = RunningMean()
        self._num_with_context = 0
        self._contexts: set[int] = set()
        self._openings: set[int] = set()
        self._personas: Counter[str] = Counter()

    def add(self, pair: ContrastivePair) -> None:
        """Add one pair."""
        self.num_pairs += 1
        self.sample.add(pair)
        self.strategies.update(contrast.strategy for contrast in pair.contrasts)
        self._personas[pair.persona] += 1
        self._add_beginning(pair)
        replies = tuple(simulated_replies(pair))
        if replies:
            self._add_lengths(replies)
            for mean, side in zip(self.refusals.values(), zip(*replies, strict=True), strict=True):
                mean.add(sum(map(bool, map(find_refusal, side))) / len(side))

    def length_gap(self) -> LengthGap:
        """Return the difference in length between the sides."""
        words, spread = self._words.mean(), self._reply_words
        mean = spread.total / max(1, spread.num)
        deviation = sqrt(max(0.0, spread.squares / max(1, spread.num) - mean * mean))
        return LengthGap(
            characters=self._characters.mean(),
            words=words,
            standardised=words.value / deviation if deviation else 0.0,
            longer_is_rejected=self._longer.share(),
        )

    def repeats(self) -> Repeats:
        """Return how many pairs begin like an earlier pair."""
        return Repeats(
            num_contexts=self._num_with_context - len(self._contexts),
            num_first_messages=self.num_pairs - len(self._openings),
        )

    def persona_coverage(self) -> Personas:
        """Return how many personas the pairs have, and how often."""
        named = Counter({persona: num for persona, num in self._personas.items() if persona})
        most_common = max(named.values(), default=0)
        return Personas(num_distinct=len(named), num_without=self._personas[""], most_common=most_common)

    def _add_beginning(self, pair: ContrastivePair) -> None:
        """Add the seed messages and the first simulated message."""
        start = pair.num_seed_messages
        # Hashes, because the texts of a whole set would not fit in memory.
        contents = tuple(message.content for message in pair.chosen.messages[: start + 1])
        if start:
            self._num_with_context += 1
            self._contexts.add(hash(contents[:start]))
        self._openings.add(hash(contents))

    def _add_lengths(self, replies: tuple[tuple[str, str], ...]) -> None:
        """Add the lengths of a pair's replies."""
        words = [(len(chosen.split()), len(rejected.split())) for chosen, rejected in replies]
        gaps = [len(chosen) - len(rejected) for chosen, rejected in replies]
        self._characters.add(sum(gaps) / len(gaps))
        self._words.add(sum(chosen - rejected for chosen, rejected in words) / len(words))
        self._longer.add(sum((gap < 0) + 0.5 * (gap == 0) for gap in gaps) / len(gaps))
        for num in (num for both in words for num in both):
            self._reply_words.add(num)
