"""`write_selection`: what `music view --static` does: a static page of selected records."""

from collections.abc import Iterator, Sequence
from itertools import islice

import typer

from music.errors import InvalidInputError
from music.viewer.commands import whole_index
from music.viewer.config import Selection, ViewerConfig
from music.viewer.index import Index
from music.viewer.labels import LabelStore, default_label_path
from music.viewer.query import FILTERS, Query, Sort
from music.viewer.sources import require_sources
from music.viewer.static_page import StaticRecord, write_static

__all__ = ["write_selection"]

_MARGIN = "margin "
"""What the names of extra values that are margins begin with."""
_ADDRESS_NAMES = ("set", "label", *(name for name in FILTERS if name != "data_set"))


def write_selection(sources: Sequence[str], config: ViewerConfig) -> None:
    """Write the selected records of sources to one page.

    Raises:
        InvalidInputError: The selection is empty or not understood, or the page would be too large.
    """
    if config.static is None:
        raise InvalidInputError(
            "--search, --filter, --sort, --ids, --worst and --limit select for a static page: expected --static "
            "FILE.html with them; without it, search and filter on the page"
        )
    require_sources(sources)
    index = whole_index(sources, LabelStore(config.labels or default_label_path()))
    keys = _keys(index, config.selection)
    records = [StaticRecord(record, index.extras(key)) for key in keys if (record := index.record(key))]
    if not records:
        raise InvalidInputError("nothing is selected: leave out parts of --search and --filter")
    title = ", ".join(source.rstrip("/") for source in sources)
    num = write_static(config.static, title, _intro(len(records), index.num_records(), config.selection), records)
    typer.echo(f"{config.static}: {len(records):,} conversations, {num / 2**20:.1f} MB")


def _keys(index: Index, selection: Selection) -> list[str]:
    if not selection.ids:
        return list(islice(_keys_of(index, _query(index, selection)), selection.worst or selection.limit))
    if selection != Selection(ids=selection.ids):
        raise InvalidInputError("--ids names the conversations: leave out the other options of the selection")
    found = index.keys_of(selection.ids)
    if missing := [each for each in selection.ids if each not in found]:
        raise InvalidInputError(f"--ids {missing[0]}: no conversation has this id; a list shows the ids")
    return [found[each] for each in selection.ids]


def _query(index: Index, selection: Selection) -> Query:
    """Return the query of a selection, as the address of a list would have it."""
    given = {"q": selection.search, "sort": selection.sort or Sort.FILE}
    for each in selection.filter:
        name, _, value = each.partition("=")
        if name not in _ADDRESS_NAMES or not value:
            raise InvalidInputError(
                f"--filter {each}: expected NAME=VALUE with a name of {', '.join(sorted(_ADDRESS_NAMES))}"
            )
        given[name] = value
    if selection.worst:
        if selection.sort:
            raise InvalidInputError("--worst is an order: leave out --sort")
        given["sort"] = f"-{_margin(index)}"
    query = Query.of(given)
    for name, value in given.items():
        if value not in ("", Sort.FILE) and name not in query.parameters():
            raise InvalidInputError(f"--filter {name}={value}: expected a number")
    if not selection.worst and query.sort not in list(Sort) and query.sort.removeprefix("-") not in index.extra_names():
        raise InvalidInputError(f"--sort {query.sort}: expected one of {', '.join([*Sort, *index.extra_names()])}")
    return query


def _margin(index: Index) -> str:
    """Return the name of the only margins.

    Raises:
        InvalidInputError: There are none, or those of several models.
    """
    names = [name for name in index.extra_names() if name.startswith(_MARGIN)]
    if not names:
        raise InvalidInputError("--worst: no pair has rewards yet: score the pairs in the viewer first")
    if len(names) > 1:
        orders = " or ".join(f"--sort '-{name}'" for name in names)
        raise InvalidInputError(f"--worst: the pairs have rewards of several models: choose {orders}, with --limit")
    return names[0]


def _keys_of(index: Index, query: Query) -> Iterator[str]:
    """Yield the keys of all pages of a list."""
    num_pages = 1
    while query.page <= num_pages:
        listing = index.listing(query)
        yield from (each.key for each in listing.records)
        num_pages, query = listing.num_pages, query.with_page(query.page + 1)


def _intro(num: int, num_records: int, selection: Selection) -> str:
    """Return what was selected, in a sentence."""
    parts = [f"“{selection.search}”" if selection.search else "", *selection.filter]
    chosen = f" ({', '.join(filter(None, parts))})" if any(parts) else ""
    order = ", those with the lowest margins" if selection.worst else ""
    return f"{num:,} of {num_records:,} conversations{chosen}{order}."
