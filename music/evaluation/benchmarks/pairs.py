"""Benchmarks of preference pairs: `PairBenchmark`, and `Preferences`.

`Preferences` makes any preference file a benchmark: accuracy, also by number of turns and by which side is longer.
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

__all__ = ["MANY_TURNS", "PairBenchmark", "Preferences", "pair_item", "turns_name"]

MANY_TURNS = 6
"""Pairs with this many turns or more are pooled."""
TIE = "a tie"


@dataclass(kw_only=True, eq=False)
class PairBenchmark(ABC):
    """A benchmark of pairs. Rows may have any format that `read_preferences` reads.

    Attributes:
        format: The format of all rows; by default it is detected for each row.
        consecutive: What to do with two consecutive messages by one speaker.
        on_read: Called with the `PreferenceSet` of each source.
    """

    format: Format | None = None
    consecutive: Consecutive = Consecutive.REFUSE
    on_read: Callable[[PreferenceSet], None] | None = None

    split = "test"

    @abstractmethod
    def item(self, pair: PreferencePair, row: Row) -> Item:
        """Return the item of a pair.

        Args:
            pair: The pair.
            row: Its row, which may hold further columns.

        Raises:
            RowError: A further column of the row is bad.
            LeftOutError: The benchmark itself leaves such pairs out.
        """

    def read(self, row: Row) -> Iterable[Item]:
        """Return the items of a single row; ids are unchanged.

        Raises:
            RowError: The row is bad.
            LeftOutError: The benchmark itself leaves out one of its pairs.
        """
        read = read_row(row)
        if read.error is not None:
            raise read.error
        return [self.item(pair, row) for pair in read.pairs]

    def read_source(self, source: str, split: str | None) -> Iterator[tuple[Row, list[Item | RejectedItem] | RowError]]:
        """Yield each row of a source with its items and rejected items, or with its error.

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
    """Return the item of a pair. Without `prompt_id`, the pair is independent of all others.

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
        tags: dict[str, Tag] = {"turns": pair.chosen.num_turns, "longer": _longer_side(pair)}
        return pair_item(
            pair.id, pair.source, pair.chosen, pair.rejected, prompt_id=prompt_key(seed_key(pair)), tags=tags
        )

    def figures(self, items: Sequence[Item], scores: Scores) -> list[Figure]:
        """Return the accuracy over all pairs, by number of turns, by which side is longer and by source."""
        scored = ScoredItems(items, scores)
        turns = scored.group(lambda item: min(int(item.tags["turns"]), MANY_TURNS))
        return [
            scored.accuracy("overall", scored.places),
            *(scored.accuracy(turns_name(num), turns[num], table="turns") for num in sorted(turns)),
            *scored.accuracies("length", lambda item: str(item.tags["longer"])),
            *scored.accuracies("sources", lambda item: item.subset),
        ]


def _longer_side(pair: PreferencePair) -> str:
    """Name the side whose replies have more characters."""
    sides = (pair.chosen, pair.rejected)
    chosen, rejected = (sum(len(m.content) for m in side.messages if m.role == "assistant") for side in sides)
    if chosen == rejected:
        return "same length"
    return f"{'chosen' if chosen > rejected else 'rejected'} side longer"


def turns_name(number: int) -> str:
    """Return the name of a number of turns; from `MANY_TURNS` on they share one."""
    return f"{number} turn{'s' * (number != 1)}" if number < MANY_TURNS else f"{MANY_TURNS} turns or more"
