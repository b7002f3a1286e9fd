"""What an index returns: the records of a list, their neighbours, and the files behind it."""

from dataclasses import dataclass

from music.viewer.query import PAGE_SIZE

__all__ = ["FileState", "Listed", "Listing", "Neighbours"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A record in a list.

    Attributes:
        key: Its key in links; see `key_of`.
        id: Its id.
        kind: What it is.
        data_set: The data set that it belongs to.
        source: Where its seed comes from.
        title: The beginning of the first user message.
        turns: The number of turns.
        diverging: The first turn in which the sides differ; None without two sides.
        chosen: Characters of the chosen replies.
        rejected: Characters of the rejected replies.
        gap: Their difference.
        strategies: Its contrasts.
    """

    number: int
    key: str
    id: str
    kind: str
    data_set: str
    source: str
    title: str
    turns: int
    diverging: int | None
    chosen: int | None
    rejected: int | None
    gap: int | None
    strategies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a list.

    Attributes:
        records: The records on it.
        num_matches: The number of records on all pages.
    """

    records: tuple[Listed, ...]
    num_matches: int

    @property
    def num_pages(self) -> int:
        """The number of pages, at least 1."""
        return max(1, -(-self.num_matches // PAGE_SIZE))


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Where a record stands in a list.

    Attributes:
        previous: The key of the record before it; None for the first.
        next: The key of the record after it; None for the last.
    """

    previous: str | None
    next: str | None


@dataclass(frozen=True, slots=True)
class FileState:
    """A file of the index.

    Attributes:
        path: Its path.
        num_records: The number of its records so far.
        num_bad: The number of its rows that cannot be used.
        problem: The first problem; empty for none.
        is_other: Whether it holds nothing that can be shown, and was found in a folder.
        is_whole: Whether all of it has been read.
    """

    path: str
    num_records: int
    num_bad: int
    problem: str
    is_other: bool
    is_whole: bool
