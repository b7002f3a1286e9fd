"""The pages: `list_page`, `record_page` and `message_page` turn plain data into HTML.

The pages work without a server: `Urls` says where their links lead. All text is escaped by the templates.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import jinja2
from markupsafe import Markup, escape

from music.viewer.agreement import Agreement
from music.viewer.charts import RewardView
from music.viewer.index import FileState, Listed, Listing, Neighbours
from music.viewer.labels import LABELLED, UNLABELLED, Label, Verdict
from music.viewer.live import LiveRun
from music.viewer.query import PAGE_SIZE, Query, Sort
from music.viewer.records import Record
from music.viewer.scores import DISAGREEMENT, margin_name, preference_name
from music.viewer.views import detail_text, view_of

__all__ = ["LabelForm", "ListPage", "RecordPage", "Urls", "agreement_page", "duration", "list_page", "message_page"]
__all__ += ["record_page", "render", "strip"]

_EXCERPT = 160
_SHORT = 26
LABEL_NAMES = {
    UNLABELLED: "unlabelled",
    LABELLED: "labelled",
    Verdict.AGREE: "agree",
    Verdict.DISAGREE: "disagree",
    Verdict.TIE: "tie",
    "note": "with a note",
}
VERDICTS = (
    (Verdict.AGREE, "Agree", "a", "chosen is better"),
    (Verdict.DISAGREE, "Disagree", "d", "rejected is better"),
    (Verdict.TIE, "Tie", "t", "neither is better"),
)
"""Each verdict with its name, its key and its meaning."""
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


class Urls(Protocol):
    """Where links lead."""

    def list(self, query: Query) -> str:
        """Return the address of a list."""
        ...

    def record(self, key: str, query: Query) -> str:
        """Return the address of a record within a list."""
        ...

    def agreement(self) -> str:
        """Return the address of the agreement of all labels."""
        ...

    def export(self) -> str:
        """Return the address of the labelled pairs as a file."""
        ...

    def run(self, folder: str) -> str:
        """Return the address of a run; of the latest one if `folder` is empty."""
        ...

    def asset(self, name: str) -> str:
        """Return the address of the style sheet or the script."""
        ...


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


@dataclass(frozen=True, slots=True)
class LabelForm:
    """The labels of a pair, and what its forms need to change them.

    Attributes:
        labels: The labels by turn.
        token: The token that a form must carry.
        action: The address that forms are sent to.
    """

    labels: Mapping[int, Label]
    token: str
    action: str

    def of(self, turn: int) -> Label:
        """Return the label of a turn, or of the pair; an empty one for none."""
        return self.labels.get(turn, Label(key="", turn=turn))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPage:
    """What the page of a record shows.

    Attributes:
        key: The record's key.
        record: The record.
        query: The list from which it was opened.
        neighbours: The records before and after it in that list.
        label_form: The labels of a pair and what their forms need; None if it cannot be labelled.
        rewards: The rewards of a pair by each model.
    """

    key: str
    record: Record
    query: Query
    neighbours: Neighbours
    label_form: LabelForm | None = None
    rewards: Sequence[RewardView] = ()


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
            f"{preference_name(model)}=rejected": f"{_short(model)} prefers rejected" for model in page.margins
        },
        problems=[file for file in page.files if file.problem and not file.is_other],
        strip=strip,
    )


def record_page(page: RecordPage, urls: Urls) -> str:
    """Return the HTML of a record."""
    return render(
        "record.html.jinja",
        page=page,
        urls=urls,
        query=page.query,
        view=view_of(page.record),
        form=page.label_form,
        verdicts=VERDICTS,
    )


def agreement_page(found: Agreement, path: Path, urls: Urls) -> str:
    """Return the HTML of the agreement of the labels in a file."""
    return render(
        "agreement.html.jinja",
        found=found,
        path=path,
        urls=urls,
        query=Query(),
        unlabelled=Query(label=UNLABELLED),
    )


def message_page(title: str, text: str, urls: Urls) -> str:
    """Return the HTML of a page that only says something, such as why there is nothing at an address."""
    return render("message.html.jinja", title=title, text=text, urls=urls, query=Query())


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
        sorts |= {f"-{name}": f"Smallest margin: {_short(model)}", name: f"Largest margin: {_short(model)}"}
    return sorts


def _is_offered(page: ListPage, name: str) -> bool:
    """Whether a filter has values to choose from, or is set."""
    return len(page.options.get(name, ())) > 1 or bool(getattr(page.query, name))


def _marked(text: str, query: Query) -> Markup:
    """Return a text with the words marked that were searched for."""
    words = [re.escape(word.strip('"*')) for word in query.words if word.strip('"*')]
    if not words:
        return escape(text)
    pieces = re.split(f"({'|'.join(words)})", text, flags=re.IGNORECASE)
    return Markup("").join(
        Markup("<mark class=found>{}</mark>").format(piece) if place % 2 else escape(piece)
        for place, piece in enumerate(pieces)
    )


def _size(num_characters: int) -> str:
    """Return a number of characters for people."""
    for unit, size in (("million", 10**6), ("thousand", 10**3)):
        if num_characters >= size:
            return f"{num_characters / size:.1f} {unit} characters"
    return f"{num_characters} characters"


def duration(seconds: float) -> str:
    """Return a time for people."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    if hours:
        return f"{hours:,} h {minutes:02d} min"
    if minutes >= 10:
        return f"{minutes} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _short(name: str) -> str:
    """Return the end of a long name."""
    return name if len(name) <= _SHORT else f"…{name[1 - _SHORT :]}"


def render(template: str, **values: Any) -> str:
    """Return the HTML of a template."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("music.viewer"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"marked": _marked, "size": _size, "detail": detail_text, "duration": duration}
    environment.filters["short"] = _short
    environment.filters["thousands"] = "{:,}".format
    return environment
