"""`Query`: what a list shows, as it stands in a page's address.

Every filter, the search and the order are in the address, so that any page can be linked to. Unknown or invalid
parameters of an address are ignored.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Self

from music.viewer.database import words_of

__all__ = ["FILTERS", "PAGE_SIZE", "Query", "Sort"]

PAGE_SIZE = 50
FILTERS = ("kind", "data_set", "source", "strategy", "turns", "diverging")
"""The filters, in the order in which a page shows them."""


class Sort(StrEnum):
    """The order of a list."""

    FILE = "file"
    """As in the files."""
    NEWEST = "newest"
    """The latest first."""
    GAP = "gap"
    """The largest difference in length first."""
    EARLY = "early"
    """The earliest difference first."""
    LATE = "late"
    """The latest difference first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a list shows; empty strings and None do not filter.

    Attributes:
        text: Words that a record contains; "words in quotes" in this order; word* for words that begin so.
        kind: Only records of this kind.
        data_set: Only records of this data set.
        source: Only records whose seeds come from there.
        strategy: Only pairs with this contrast in any turn.
        turns: Only records of this number of turns.
        diverging: Only pairs that first differ in this turn.
        extra: Only records with a value of this name, or with `NAME=VALUE`; such as a model's margins.
        label: Only pairs with this label of people: a verdict, `labelled`, `unlabelled` or `note`.
        sort: The order: a `Sort`, or the name of extra values, largest first, with a `-` before it smallest first.
        page: The number of the page, from 1.
    """

    text: str = ""
    kind: str = ""
    data_set: str = ""
    source: str = ""
    strategy: str = ""
    turns: int | None = None
    diverging: int | None = None
    extra: str = ""
    label: str = ""
    sort: str = Sort.FILE
    page: int = 1

    @classmethod
    def of(cls, parameters: Mapping[str, str]) -> Self:
        """Read a query from the parameters of an address."""
        read: dict[str, str | int] = {}
        for each in fields(cls):
            value = parameters.get(_NAMES.get(each.name, each.name), "").strip()
            if isinstance(each.default, str):
                read[each.name] = value or each.default
            elif re.fullmatch(r"[0-9]{1,9}", value):
                read[each.name] = int(value)
        return cls(**read | {"page": max(1, int(read.get("page", 1)))})  # type: ignore[arg-type]

    def parameters(self) -> dict[str, str]:
        """Return the parameters of an address; those that are as by default are left out."""
        values = {
            each.name: getattr(self, each.name) for each in fields(self) if getattr(self, each.name) != each.default
        }
        return {_NAMES.get(name, name): str(value) for name, value in values.items()}

    def with_page(self, page: int) -> Self:
        """Return the query for another page."""
        return replace(self, page=page)

    def cleared(self) -> Self:
        """Return the query of all records in the same order."""
        return type(self)(sort=self.sort)

    @property
    def filters(self) -> dict[str, object]:
        """The filters that are set, and the search, by name."""
        names = [each.name for each in fields(self) if each.name not in ("sort", "page")]
        return {name: value for name in names if (value := getattr(self, name)) not in ("", None)}

    @property
    def is_filtered(self) -> bool:
        """Whether it leaves anything out."""
        return bool(self.filters)

    @property
    def words(self) -> list[str]:
        """The words and phrases that are searched for."""
        return [phrase or word for phrase, word in _TERM.findall(self.text)]

    @property
    def match(self) -> str:
        """The words as an expression of the full-text search; empty for none."""
        terms = ((phrase or word.removesuffix("*"), word.endswith("*")) for phrase, word in _TERM.findall(self.text))
        quoted = [(words_of(term).strip().replace('"', '""'), is_prefix) for term, is_prefix in terms]
        return " AND ".join(f'"{term}"{" *" if is_prefix else ""}' for term, is_prefix in quoted if _WORD.search(term))


_NAMES = {"text": "q", "data_set": "set"}
_TERM = re.compile(r'"([^"]+)"|(\S+)')
_WORD = re.compile("[^\\W_]|[\u2600-\u27bf\U0001f000-\U0001faff]")
"""Something that the search's index contains."""
