"""`PairBenchmark`: benchmarks of pairs in any shape, read as every command reads them; and the item of a pair."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from music.conversation import Conversation
from music.evaluation.benchmarks.benchmark import LeftOutError
from music.evaluation.benchmarks.item import Item, RejectedItem, Tag
from music.pairs import PreferencePair
from music.preferences.problems import RowError
from music.preferences.reader import PreferenceSet, PreferenceSetBuilder
from music.preferences.row_messages import Consecutive
from music.preferences.rows import ReadRow, read_row, read_rows
from music.preferences.shapes import Format
from music.preferences.sources import Row

__all__ = ["PairBenchmark", "pair_item"]

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
        """Return the items of a row on its own, in which ids are as they stand.

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
    """Return the item of a pair; without `prompt_id` it is a unit of its own."""
    return Item(
        id=id,
        subset=subset,
        completions=(chosen, rejected),
        labels=(1.0, 0.0),
        prompt_id=id if prompt_id is None else prompt_id,
        tags=tags or {},
    )
