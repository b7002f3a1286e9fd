"""`list_page`: the page of a list, with its filters, orders and search."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from music.viewer.labels import LABELLED, UNLABELLED, Label, Verdict
from music.viewer.listing import FileState, Listed, Listing
from music.viewer.live import LiveRun
from music.viewer.query import PAGE_SIZE, Query, Sort
from music.viewer.records import Record
from music.viewer.rendering import Urls, render, short_name
from music.viewer.scores import DISAGREEMENT, margin_name, preference_name

__all__ = ["ListPage", "excerpt", "list_page", "strip"]

_EXCERPT = 160
LABEL_NAMES = {
    UNLABELLED: "unlabelled",
    LABELLED: "labelled",
    Verdict.AGREE: "agree",
    Verdict.DISAGREE: "disagree",
    Verdict.TIE: "tie",
    "note": "with a note",
}
FILTER_NAMES = {
    "kind": "Kind",
    "data_set": "Data set",
    "source": "Source",
    "strategy": "Contrast",
    "turns": "Turns",
    "diverging": "First difference",
}
SORT_NAMES = {
    Sort.FILE: "As in the files",
    Sort.NEWEST: "Newest first",
    Sort.GAP: "Largest difference in length",
    Sort.EARLY: "Earliest difference",
    Sort.LATE: "Latest difference",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPage:
    """What a list page shows.

    Attributes:
        query: The filters, the search, the order and the page.
        listing: The records.
        excerpts: For some records, by key, the part of the text that was searched for.
        options: The values of each filter, with their numbers.
        files: The files behind the list.
        num_records: The number of all records so far.
        is_whole: Whether all files have been read.
        labels: The labels of people by record key and turn.
        num_labelled: The number of pairs that have a label.
        run: The latest run among the files; None for none.
        margins: For each model, the margins by record key.
        scoring: For each model that has not scored all pairs, how far it is.
    """

    query: Query
    listing: Listing
    options: dict[str, list[tuple[str, int]]]
    files: list[FileState]
    num_records: int
    is_whole: bool
    run: LiveRun | None = None
    excerpts: dict[str, str] = field(default_factory=dict)
    labels: Mapping[str, Mapping[int, Label]] = field(default_factory=dict)
    num_labelled: int = 0
    margins: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    scoring: Mapping[str, str] = field(default_factory=dict)


def list_page(page: ListPage, urls: Urls) -> str:
    """Return the HTML of a list."""
    first = (page.query.page - 1) * PAGE_SIZE + 1
    return render(
        "list.html.jinja",
        page=page,
        urls=urls,
        query=page.query,
        first=first,
        last=first + len(page.listing.records) - 1,
        filters=[each for each in FILTER_NAMES if _is_offered(page, each)],
        filter_names=FILTER_NAMES,
        label_names=LABEL_NAMES,
        sorts={**{str(sort): name for sort, name in SORT_NAMES.items()}, **_reward_sorts(list(page.margins))},
        preferences={
            f"{preference_name(model)}=rejected": f"{short_name(model)} prefers rejected" for model in page.margins
        },
        problems=[file for file in page.files if file.problem and not file.is_other],
        strip=strip,
    )


def excerpt(record: Record, query: Query) -> str:
    """Return the part of a record's text that has most of the words that were searched for.

    It is empty if that is the first message, whose beginning the list shows anyway.
    """
    words = [re.escape(word.strip('"*')) for word in query.words if word.strip('"*')]
    texts = list(dict.fromkeys(message.content for side in record.sides for message in side.messages))
    texts += [contrast.modified_instruction for contrast in record.contrasts]
    patterns = [re.compile(word, re.IGNORECASE) for word in words]
    numbers = [sum(pattern.search(text) is not None for pattern in patterns) for text in texts]
    best = numbers.index(max(numbers)) if any(numbers) else 0
    if best == 0:
        return ""
    text = texts[best]
    found = min(each.start() for pattern in patterns if (each := pattern.search(text)))
    start = text.rfind(" ", 0, max(0, found - _EXCERPT // 3)) + 1
    cut = " ".join(text[start : start + _EXCERPT].split())
    return f"{'…' if start else ''}{cut}{'…' if start + _EXCERPT < len(text) else ''}"


def strip(listed: Listed) -> list[str]:
    """Return for each turn of a pair whether the sides are `same`, differ `first` or come `after` that."""
    if not listed.diverging or listed.turns > 24:
        return []
    names = (("same", "first")[number == listed.diverging] for number in range(1, listed.diverging + 1))
    return [*names, *["after"] * (listed.turns - listed.diverging)]


def _reward_sorts(models: Sequence[str]) -> dict[str, str]:
    """Return the names of the orders by rewards, by their value in a query."""
    sorts = {DISAGREEMENT: "Largest disagreement of models"} if len(models) > 1 else {}
    for model in models:
        name = margin_name(model)
        sorts |= {f"-{name}": f"Smallest margin: {short_name(model)}", name: f"Largest margin: {short_name(model)}"}
    return sorts


def _is_offered(page: ListPage, name: str) -> bool:
    """Whether a filter has values to choose from, or is set."""
    return len(page.options.get(name, ())) > 1 or bool(getattr(page.query, name))
