"""`write_selection`: what `music view --static` does: a static page of selected records."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import typer

from music.errors import InvalidInputError
from music.viewer.charts import reward_view
from music.viewer.config import Selection, ViewerConfig
from music.viewer.index import Index
from music.viewer.labels import LabelStore, default_label_path
from music.viewer.query import FILTERS, Query, Sort
from music.viewer.records import Kind, Record, text_key
from music.viewer.refresh import whole_index
from music.viewer.reward_sources import reward_sources
from music.viewer.scores import margin_name
from music.viewer.scoring import score_pairs
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
    models, selection = reward_sources(config.models), config.selection
    index = whole_index(sources, LabelStore(config.labels or default_label_path()))
    is_by_margin = bool(selection.worst) or selection.sort.lstrip("-").startswith(_MARGIN)
    keys = index.keys(_query(selection), -1) if is_by_margin else _keys(index, selection, config.models)
    fingerprints = {model.name: score_pairs(model, index.path, keys) for model in models}
    if is_by_margin:
        keys = _keys(index, selection, config.models)
    records = [_static(index, key, record, fingerprints) for key in keys if (record := index.record(key))]
    if not records:
        raise InvalidInputError("nothing is selected: leave out parts of --search and --filter")
    title = ", ".join(source.rstrip("/") for source in sources)
    num = write_static(config.static, title, _intro(len(records), index, selection, config.models), records)
    typer.echo(f"{config.static}: {len(records):,} conversations, {num / 2**20:.1f} MB")


def _static(index: Index, key: str, record: Record, fingerprints: Mapping[str, str]) -> StaticRecord:
    """Return a record with its rewards by the models that were named; without any, with the margins that are known."""
    if record.kind is not Kind.PAIR:
        return StaticRecord(record)
    names = [margin_name(model) for model in fingerprints] or [
        name for name in index.extra_names() if name.startswith(_MARGIN)
    ]
    extras = index.extras(key)
    margins = {name: float(extras[name]) for name in names if name in extras}
    views = [
        reward_view(model, index.rewards(fingerprint, key), record, "no rewards")
        for model, fingerprint in fingerprints.items()
    ]
    return StaticRecord(record, margins, views)


def _keys(index: Index, selection: Selection, models: Sequence[str]) -> list[str]:
    """Return the keys of the selected records in order."""
    if not selection.ids:
        query = replace(_query(selection), sort=_order(index, selection, models))
        if not selection.worst:
            return index.keys(query, selection.limit)
        return _worst(index, query, selection.worst)
    if selection != Selection(ids=selection.ids):
        raise InvalidInputError("--ids names the conversations: leave out the other options of the selection")
    found = index.keys_of(selection.ids)
    if missing := [each for each in selection.ids if each not in found]:
        raise InvalidInputError(f"--ids {missing[0]}: no conversation has this id; a list shows the ids")
    return [found[each] for each in selection.ids]


def _query(selection: Selection) -> Query:
    """Return the search and the filters of a selection, as the address of a list would have them."""
    given = {"q": selection.search} if selection.search else {}
    for each in selection.filter:
        name, _, value = each.partition("=")
        if name not in _ADDRESS_NAMES or not value:
            raise InvalidInputError(
                f"--filter {each}: expected NAME=VALUE with a name of {', '.join(sorted(_ADDRESS_NAMES))}"
            )
        given[name] = value
    query = Query.of(given)
    if unread := given.keys() - query.parameters().keys():
        raise InvalidInputError(f"--filter {unread.pop()}: expected a number")
    return query


def _order(index: Index, selection: Selection, models: Sequence[str]) -> str:
    """Return the order of a selection, as the address of a list would have it."""
    if selection.worst and selection.sort:
        raise InvalidInputError("--worst is an order: leave out --sort")
    if selection.worst:
        return f"-{_margin([margin_name(model) for model in models] or index.extra_names())}"
    orders = [*Sort, *index.extra_names()]
    if selection.sort.removeprefix("-") not in ("", *orders):
        raise InvalidInputError(f"--sort {selection.sort}: expected one of {', '.join(orders)}")
    return selection.sort or Sort.FILE


def _margin(names: Sequence[str]) -> str:
    """Return the name of the only margins.

    Raises:
        InvalidInputError: There are none, or those of several models.
    """
    margins = [name for name in names if name.startswith(_MARGIN)]
    if not margins:
        raise InvalidInputError("--worst: no pair has rewards: name a model (--model)")
    if len(margins) > 1:
        orders = " or ".join(f"--sort '-{name}'" for name in margins)
        raise InvalidInputError(f"--worst: the pairs have rewards of several models: choose {orders}, with --limit")
    return margins[0]


def _worst(index: Index, query: Query, num: int) -> list[str]:
    """Return the keys of the pairs with the lowest margins, those of equal texts once.

    Raises:
        InvalidInputError: No selected pair has a margin.
    """
    margin, first = query.sort.removeprefix("-"), dict[str, str]()
    for key in index.keys(query, -1):
        first.setdefault(text_key(key), key)
    scored = index.values(margin, first)
    if not scored:
        raise InvalidInputError(f"--worst: {margin.removeprefix(_MARGIN)} has rewards of none of the selected pairs")
    return [key for text, key in first.items() if text in scored][:num]


def _intro(num: int, index: Index, selection: Selection, models: Sequence[str]) -> str:
    """Return what was selected, in a sentence."""
    parts = [f"“{selection.search}”" if selection.search else "", *selection.filter]
    chosen = f" ({', '.join(filter(None, parts))})" if any(parts) else ""
    by = f" of {models[0]}" if models else ""
    order = f", those with the lowest margins{by}" if selection.worst else ""
    return f"{num:,} of {index.num_records():,} conversations{chosen}{order}."
