"""Benchmarks of pairs in any shape, read as every command reads them: `PairBenchmark`, and `Preferences`.

`Preferences` makes any preference file a benchmark: accuracy, by number of turns and by which side is longer.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from music.conversation import Conversation
from music.evaluation.benchmarks.fields import prompt_key
from music.evaluation.benchmarks.scored import ScoredItems
from music.evaluation.benchmarks.types import Item, LeftOutError, RejectedItem, Scores, Tag
from music.pairs import PreferencePair
from music.preferences.problems import RowError
from music.preferences.reader import PreferenceSet, PreferenceSetBuilder
from music.preferences.row_messages import Consecutive
from music.preferences.rows import ReadRow, read_row, read_rows
from music.preferences.shapes import PAIR_FORMATS, Format
from music.preferences.sources import Row
from music.preferences.split import seed_key
from music.statistics import Figure

__all__ = ["PairBenchmark", "Preferences", "pair_item"]

MANY_TURNS = 6
"""Accuracy is pooled over pairs of so many turns and more."""
TIE = "a tie"


@dataclass(kw_only=True, eq=False)
class PairBenchmark(ABC):
    """A benchmark of pairs, which are read as `read_preferences` reads them.

    Attributes:
        format: The rows' format; by default each row tells its own.
        consecutive: What becomes of two messages in a row by one speaker.
        on_read: Called with what each source gave.
    """

    format: Format | None = None
    consecutive: Consecutive = Consecutive.REFUSE
    on_read: Callable[[PreferenceSet], None] | None = None

    split = "test"

    @abstractmethod
    def item(self, pair: PreferencePair, row: Row) -> Item:
        """Return the item of a pair and the row that it is of.

        Raises:
            RowError: A further column of the row is bad.
            LeftOutError: The benchmark itself leaves such pairs out.
        """

    def read(self, row: Row) -> Iterable[Item]:
        """Return the items of a single row; its ids are kept unchanged.

        Raises:
            RowError: The row is bad.
            LeftOutError: The benchmark itself leaves a pair of it out.
        """
        read = read_row(row)
        if read.error is not None:
            raise read.error
        return [self.item(pair, row) for pair in read.pairs]

    def read_source(self, source: str, split: str | None) -> Iterator[tuple[Row, list[Item | RejectedItem] | RowError]]:
        """Yield what each row of a source gives: items, and what is left out; or why there are none.

        Raises:
            InvalidInputError: The source cannot be read.
        """
        account = PreferenceSetBuilder(source)
        rows = read_rows(source, split=split, prefer=self.split, format=self.format, consecutive=self.consecutive)
        for read in rows:
            account.add(read)
            yield read.row, self._found(read)
        if self.on_read is not None:
            self.on_read(account.result())

    def _found(self, read: ReadRow) -> list[Item | RejectedItem] | RowError:
        if read.error is not None:
            return read.error
        found: list[Item | RejectedItem] = []
        for pair in read.pairs:
            try:
                found.append(self.item(pair, read.row))
            except LeftOutError as error:
                found.append(_left_out(read.row, str(error)))
            except RowError as error:
                return error
        return found + [_left_out(read.row, TIE)] * read.num_ties


def _left_out(row: Row, reason: str) -> RejectedItem:
    return RejectedItem(row.file, f"{row.unit} {row.number}", reason)


def pair_item(
    id: str,
    subset: str,
    chosen: Conversation,
    rejected: Conversation,
    *,
    prompt_id: str | None = None,
    tags: Mapping[str, Tag] | None = None,
) -> Item:
    """Return the item of a pair; without `prompt_id` it is a unit of its own.

    Example:
        >>> from music import Conversation
        >>> from music.evaluation import pair_item
        >>> prompt = Conversation().user("Tea or coffee?")
        >>> pair_item("1", "drinks", prompt.assistant("Tea, please."), prompt.assistant("No.")).labels
        (1.0, 0.0)
    """
    return Item(
        id=id,
        subset=subset,
        completions=(chosen, rejected),
        labels=(1.0, 0.0),
        prompt_id=id if prompt_id is None else prompt_id,
        tags=tags or {},
    )


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
    return f"{turns} turn{'s' * (turns != 1)}" if turns < MANY_TURNS else f"{MANY_TURNS} turns or more"
