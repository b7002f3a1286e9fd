"""`read_preferences` reads a preference set: every row becomes pairs, or is counted with a reason."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from music.errors import InvalidInputError
from music.pairs import PreferencePair
from music.preferences.problems import Change, RowError, RowProblem
from music.preferences.row_messages import Consecutive
from music.preferences.rows import ReadRow, read_rows
from music.preferences.shapes import Format
from music.preferences.sources import Row

__all__ = ["PreferenceSet", "PreferenceSetBuilder", "RejectedRow", "bad_row", "read_preferences"]

_SHOWN_PLACES = 5


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that was not used.

    Attributes:
        file: The name of its file.
        unit: "line" (of a text file) or "row" (of a table or an array).
        number: The number of the row, from 1.
        problem: The kind of fault.
        detail: The field, what was expected and what was found.
    """

    file: str
    unit: str
    number: int
    problem: RowProblem
    detail: str

    @classmethod
    def of(cls, row: Row, error: RowError) -> "RejectedRow":
        """Return the record of a row and its error."""
        return cls(row.file, row.unit, row.number, error.problem, str(error))


@dataclass(frozen=True, slots=True)
class PreferenceSet:
    """The pairs of a source, with an account of its rows.

    Attributes:
        source: The name of the source, as it was given.
        formats: The formats found, or the forced one, with the number of rows of each.
        pairs: The usable pairs, in order.
        rejected: The rows that could not be used, in order.
        limit: The number of pairs asked for, if reading stopped there.
        num_rows: The number of rows read.
        num_ties: The number of comparisons that ended in a tie; they give no pair.
        num_conversations: The number of rows of a single conversation, if such rows are read.
        changes: The number of changes of each kind in rows that were used.
    """

    source: str
    formats: Mapping[Format, int]
    pairs: tuple[PreferencePair, ...]
    rejected: tuple[RejectedRow, ...]
    limit: int | None = None
    num_rows: int = 0
    num_ties: int = 0
    num_conversations: int = 0
    changes: Mapping[Change, int] = field(default_factory=dict)

    @property
    def format(self) -> Format:
        """The format of most rows."""
        return max(self.formats, key=lambda format: self.formats[format])

    @property
    def rejected_by_problem(self) -> dict[RowProblem, tuple[RejectedRow, ...]]:
        """The rejected rows by problem, the most frequent problem first."""
        problems = {row.problem for row in self.rejected}
        groups = {problem: tuple(row for row in self.rejected if row.problem is problem) for problem in problems}
        return dict(sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])))

    def summary(self) -> str:
        """Return one line on what was read, what was changed, and what was dropped, where and why.

        It names the formats, except for rows of two whole conversations, which are the usual case.
        """
        formats = "" if set(self.formats) == {Format.SKYWORK} else f" ({' and '.join(map(str, self.formats))})"
        num_found = len(self.pairs) + self.num_conversations
        rows = "" if self.num_rows == num_found + len(self.rejected) else f"{self.num_rows} rows of "
        found = [f"{len(self.pairs)} pairs"] if self.pairs or not self.num_conversations else []
        found += [f"{self.num_conversations} conversations"] if self.num_conversations else []
        text = f"{' and '.join(found)} from {rows}{Path(self.source).name}{formats}"
        if self.limit is not None:
            text += f", the first {self.limit} as asked"
        parts = [text]
        if self.num_ties:
            parts.append(f"{self.num_ties} ties, which give no pair")
        parts += [f"{num} {change}" for change, num in self.changes.items() if num]
        if self.rejected:
            reasons = (f"{problem} {len(rows)} ({_places(rows)})" for problem, rows in self.rejected_by_problem.items())
            parts.append(f"{len(self.rejected)} of {self.num_rows} rows dropped: {', '.join(reasons)}")
            if not num_found:
                first = self.rejected[0]
                parts.append(f"{first.unit} {first.number}: {first.detail}")
        return "; ".join(parts)


class PreferenceSetBuilder:
    """Builds a `PreferenceSet` row by row."""

    def __init__(self, source: str | Path) -> None:
        self._source = str(source)
        self._pairs: list[PreferencePair] = []
        self._rejected: list[RejectedRow] = []
        self._formats: Counter[Format] = Counter()
        self._changes: Counter[Change] = Counter()
        self._num_rows = 0
        self._num_ties = 0
        self._num_conversations = 0

    @property
    def num_pairs(self) -> int:
        """The number of pairs so far."""
        return len(self._pairs)

    def add(self, read: ReadRow) -> None:
        """Add the next row."""
        self._num_rows += read.row.span
        self._num_ties += read.num_ties
        self._num_conversations += read.conversation is not None
        self._changes += read.changes
        self._pairs += read.pairs
        if read.format is not None:
            self._formats[read.format] += read.error is None
        if read.error is not None:
            self._rejected.append(RejectedRow.of(read.row, read.error))

    def result(self, limit: int | None = None) -> PreferenceSet:
        """Return the set; with `limit`, its first pairs only."""
        return PreferenceSet(
            source=self._source,
            formats={format: num for format, num in self._formats.items() if num} or dict(self._formats),
            pairs=tuple(self._pairs[:limit]),
            rejected=tuple(self._rejected),
            limit=limit,
            num_rows=self._num_rows,
            num_ties=self._num_ties,
            num_conversations=self._num_conversations,
            changes=dict(self._changes),
        )


def read_preferences(
    source: str | Path,
    *,
    format: Format | None = None,
    split: str | None = None,
    strict: bool = False,
    limit: int | None = None,
    consecutive: Consecutive = Consecutive.REFUSE,
) -> PreferenceSet:
    """Read a preference set: every row becomes pairs, or is counted with a reason.

    Example:
        >>> from music.preferences import read_preferences, write_preferences
        >>> from music.sandbox.world.seeds import seed_pairs
        >>> write_preferences(seed_pairs(3, 0), "pairs.jsonl")
        3
        >>> read = read_preferences("pairs.jsonl")
        >>> read.summary()
        '3 pairs from pairs.jsonl'
        >>> read.pairs[0].chosen.next_role
        'user'

    Args:
        source: A file, a folder of files or the hub id of a data set; see `iter_rows`.
        format: The format of all rows; by default it is detected for each row.
        split: The split of a folder or a hub data set; by default `train`, or the only one.
        strict: Whether the first bad row is an error. Otherwise bad rows are counted and left out.
        limit: The maximum number of pairs to read.
        consecutive: What to do with two consecutive messages by one speaker.

    Raises:
        InvalidInputError: The source cannot be read, no row has a known format, or a row is bad and `strict`.
    """
    account = PreferenceSetBuilder(source)
    for read in read_rows(source, split=split, format=format, consecutive=consecutive):
        if limit is not None and account.num_pairs >= limit:
            return account.result(limit)
        if strict and read.error is not None:
            raise bad_row(source, read.row, read.error) from read.error
        account.add(read)
    return account.result(limit if limit is not None and account.num_pairs > limit else None)


def bad_row(source: str | Path, row: Row, error: RowError) -> InvalidInputError:
    """Return the error that names a bad row's place, for strict reading."""
    path = Path(source) / row.file if Path(source).is_dir() else source
    return InvalidInputError(
        f"{path}, {row.unit} {row.number}, {error} ({error.problem}); fix the row, or read without strict to count "
        "such rows and leave them out"
    )


def _places(rows: tuple[RejectedRow, ...]) -> str:
    """Return the places of rows: `row 17` or `lines 3, 5, ...`, with the names of files if there are several."""
    if len({row.file for row in rows}) > 1:
        names = [f"{row.file} {row.unit} {row.number}" for row in rows[:_SHOWN_PLACES]]
        unit = ""
    else:
        names = [str(row.number) for row in rows[:_SHOWN_PLACES]]
        unit = f"{rows[0].unit}{'s' if len(rows) > 1 else ''} "
    return unit + ", ".join(names) + (", ..." if len(rows) > _SHOWN_PLACES else "")
