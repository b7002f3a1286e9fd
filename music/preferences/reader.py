"""Reading preference sets: every row becomes a pair or is accounted for."""

from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from music.errors import InvalidInputError
from music.pairs import PreferencePair
from music.preferences.formats import Format, detect_format, read_pair
from music.preferences.problems import RowError, RowProblem
from music.preferences.sources import Row, iter_rows

__all__ = ["PreferenceSet", "RejectedRow", "read_preferences"]

_DETECTION_ROWS = 50
_SHOWN_PLACES = 5


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that was not used.

    Attributes:
        file: Name of its file.
        unit: "line" (of a text file) or "row" (of a table or an array).
        number: Counted from 1.
        problem: Why.
        detail: Field, what was expected, what came.
    """

    file: str
    unit: str
    number: int
    problem: RowProblem
    detail: str


@dataclass(frozen=True, slots=True)
class PreferenceSet:
    """What was read from a source.

    Attributes:
        source: The source as it was named.
        format: The format found or forced.
        pairs: The usable rows, in order.
        rejected: The others, in order.
        limit: How many pairs were asked for, if reading stopped there; rows beyond were not looked at.
    """

    source: str
    format: Format
    pairs: tuple[PreferencePair, ...]
    rejected: tuple[RejectedRow, ...]
    limit: int | None = None

    @property
    def num_rows(self) -> int:
        """The number of rows looked at."""
        return len(self.pairs) + len(self.rejected)

    @property
    def rejected_by_problem(self) -> dict[RowProblem, tuple[RejectedRow, ...]]:
        """The unused rows by reason, the most frequent reason first."""
        problems = {row.problem for row in self.rejected}
        groups = {problem: tuple(r for r in self.rejected if r.problem is problem) for problem in problems}
        return dict(sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])))

    def summary(self) -> str:
        """Say in one line what was read, and what was dropped, where and why."""
        text = f"{len(self.pairs)} pairs from {Path(self.source).name} ({self.format})"
        if self.limit is not None:
            text += f", the first {self.limit} as asked"
        if not self.rejected:
            return text
        reasons = (f"{problem} {len(rows)} ({_places(rows)})" for problem, rows in self.rejected_by_problem.items())
        return f"{text}; {len(self.rejected)} of {self.num_rows} rows dropped: {', '.join(reasons)}"


def read_preferences(
    source: str | Path,
    *,
    format: Format | None = None,
    split: str = "train",
    strict: bool = False,
    limit: int | None = None,
) -> PreferenceSet:
    """Read a preference set.

    Args:
        source: A parquet, jsonl or json file (the latter two also gzipped), a folder of parquet shards, or the hub id
            of a data set.
        format: The rows' format; by default it is told from the first rows.
        split: Which split of a hub data set.
        strict: Whether the first bad row is an error; otherwise bad rows are counted.
        limit: Stop after this many pairs.

    Raises:
        InvalidInputError: The source cannot be read, its format cannot be told, or, if `strict`, a row is bad.
    """
    rows = iter_rows(source, split)
    head = list(islice(rows, _DETECTION_ROWS))
    found = format or detect_format(head)
    if found is None:
        raise _undetected(source, head)
    pairs: list[PreferencePair] = []
    rejected: list[RejectedRow] = []
    for row in chain(head, rows):
        if len(pairs) == limit:
            return PreferenceSet(str(source), found, tuple(pairs), tuple(rejected), limit)
        try:
            pairs.append(read_pair(row, found))
        except RowError as error:
            if strict:
                raise _bad_row(source, row, error) from error
            rejected.append(RejectedRow(row.file, row.unit, row.number, error.problem, str(error)))
    return PreferenceSet(str(source), found, tuple(pairs), tuple(rejected))


def _bad_row(source: str | Path, row: Row, error: RowError) -> InvalidInputError:
    path = Path(source) / row.file if Path(source).is_dir() else source
    return InvalidInputError(
        f"{path}, {row.unit} {row.number}, {error} ({error.problem}); mend the row, or read without strict to have "
        "such rows counted and left out"
    )


def _undetected(source: str | Path, head: list[Row]) -> InvalidInputError:
    known = (
        "skywork (chosen, rejected: lists of {role, content}), hh (chosen, rejected: '\\n\\nHuman: ...' transcripts), "
        "ultrafeedback (prompt: string), trl (prompt: list of messages)"
    )
    fields = next((row.content for row in head if isinstance(row.content, dict)), None)
    if fields is None:
        return InvalidInputError(f"{source}: expected rows of preferences, found {'no object' if head else 'no row'}")
    seen = ", ".join(f"{name} ({type(value).__name__})" for name, value in fields.items())
    return InvalidInputError(f"{source}: expected rows of a known format, got columns {seen}; known: {known}")


def _places(rows: tuple[RejectedRow, ...]) -> str:
    """Name the rows: `row 17`, `lines 3, 5, ...`, or with file names where there are several."""
    if len({row.file for row in rows}) > 1:
        names = [f"{row.file} {row.unit} {row.number}" for row in rows[:_SHOWN_PLACES]]
        unit = ""
    else:
        names = [str(row.number) for row in rows[:_SHOWN_PLACES]]
        unit = f"{rows[0].unit}{'s' if len(rows) > 1 else ''} "
    return unit + ", ".join(names) + (", ..." if len(rows) > _SHOWN_PLACES else "")
