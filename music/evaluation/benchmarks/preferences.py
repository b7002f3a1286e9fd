"""Any preference file as a benchmark: accuracy, by number of turns and by which side is longer."""

from collections.abc import Sequence

from music.conversation import Conversation
from music.evaluation.benchmarks.benchmark import Scores
from music.evaluation.benchmarks.fields import prompt_key
from music.evaluation.benchmarks.item import Item, Tag
from music.evaluation.benchmarks.pairs import PairBenchmark, pair_item
from music.evaluation.benchmarks.scored import ScoredItems
from music.pairs import PreferencePair
from music.preferences.shapes import PAIR_FORMATS
from music.preferences.sources import Row
from music.preferences.split import seed_key
from music.statistics import Figure

__all__ = ["Preferences"]

_MANY_TURNS = 6


class Preferences(PairBenchmark):
    """Pairs of a better and a worse conversation."""

    name = "preferences"
    source = f"any file or hub data set of preferences: {', '.join(PAIR_FORMATS)}"

    def item(self, pair: PreferencePair, row: Row) -> Item:
        """Return the item of a pair."""
        tags: dict[str, Tag] = {"turns": pair.chosen.num_turns, "longer": _longer(pair.chosen, pair.rejected)}
        return pair_item(
            pair.id, pair.source, pair.chosen, pair.rejected, prompt_id=prompt_key(seed_key(pair)), tags=tags
        )

    def figures(self, items: Sequence[Item], scores: Scores) -> list[Figure]:
        """Return the accuracy over all pairs, by number of turns, by which side is longer and by source."""
        scored = ScoredItems(items, scores)
        turns = scored.group(_turns)
        return [
            scored.accuracy("overall", scored.places),
            *(scored.accuracy(name, turns[name], table="turns") for name in sorted(turns)),
            *scored.accuracies("length", lambda item: str(item.tags["longer"])),
            *scored.accuracies("sources", lambda item: item.subset),
        ]


def _longer(chosen: Conversation, rejected: Conversation) -> str:
    """Name the side whose replies are longer in characters."""
    sizes = [sum(len(m.content) for m in side.messages if m.role == "assistant") for side in (chosen, rejected)]
    if sizes[0] == sizes[1]:
        return "same length"
    return f"{'chosen' if sizes[0] > sizes[1] else 'rejected'} side longer"


def _turns(item: Item) -> str:
    turns = int(item.tags["turns"])
    return f"{turns} turn{'s' * (turns != 1)}" if turns < _MANY_TURNS else f"{_MANY_TURNS} turns or more"
