"""Any preference file as a benchmark: accuracy, by number of turns and by which side is longer."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from music.conversation import Conversation
from music.evaluation.benchmarks.benchmark import Scores
from music.evaluation.benchmarks.fields import prompt_key
from music.evaluation.benchmarks.item import Item, RejectedItem, Tag
from music.evaluation.benchmarks.pairs import pair_item, read_pair_of
from music.evaluation.benchmarks.scored import ScoredItems
from music.evaluation.figures import Figure
from music.pairs import PreferencePair
from music.preferences.problems import RowError
from music.preferences.reader import Account, PreferenceSet
from music.preferences.rows import read_rows
from music.preferences.said import Consecutive
from music.preferences.shapes import PAIR_FORMATS, Format
from music.preferences.sources import Row
from music.preferences.split import seed_key

__all__ = ["Preferences"]

_MANY_TURNS = 6


TIE = "a tie"


@dataclass(kw_only=True, eq=False)
class Preferences:
    """Pairs of a better and a worse conversation, read as `read_preferences` reads them.

    Attributes:
        format: The rows' format; by default each row tells its own.
        consecutive: What becomes of two messages in a row by one speaker.
        on_read: Called with what each source gave.
    """

    format: Format | None = None
    consecutive: Consecutive = Consecutive.REFUSE
    on_read: Callable[[PreferenceSet], None] | None = None

    name = "preferences"
    source = f"any file or hub data set of preferences: {', '.join(PAIR_FORMATS)}"
    split = "test"

    def read(self, row: Row) -> Iterable[Item]:
        """Return the pair of a row."""
        return [_item(read_pair_of(row))]

    def read_source(self, source: str, split: str | None) -> Iterator[tuple[Row, list[Item | RejectedItem] | RowError]]:
        """Yield what each row of a source gives: pairs and ties, or why there are none.

        Raises:
            InvalidInputError: The source cannot be read.
        """
        account = Account(source)
        rows = read_rows(source, split=split, prefer=self.split, format=self.format, consecutive=self.consecutive)
        for read in rows:
            account.add(read)
            ties = [RejectedItem(read.row.file, f"{read.row.unit} {read.row.number}", TIE)] * read.num_ties
            yield read.row, read.error or [*map(_item, read.pairs), *ties]
        if self.on_read is not None:
            self.on_read(account.result())

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


def _item(pair: PreferencePair) -> Item:
    tags: dict[str, Tag] = {"turns": pair.chosen.num_turns, "longer": _longer(pair.chosen, pair.rejected)}
    key = prompt_key(seed_key(pair))
    return pair_item(pair.id, pair.source, pair.chosen, pair.rejected, prompt_id=key, tags=tags)


def _longer(chosen: Conversation, rejected: Conversation) -> str:
    """Name the side whose replies are longer in characters."""
    sizes = [sum(len(m.content) for m in side.messages if m.role == "assistant") for side in (chosen, rejected)]
    if sizes[0] == sizes[1]:
        return "same length"
    return f"{'chosen' if sizes[0] > sizes[1] else 'rejected'} side longer"


def _turns(item: Item) -> str:
    turns = int(item.tags["turns"])
    return f"{turns} turn{'s' * (turns != 1)}" if turns < _MANY_TURNS else f"{_MANY_TURNS} turns or more"
