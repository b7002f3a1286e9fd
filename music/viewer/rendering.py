"""`render`: HTML from a template and plain data.

The pages work without a server: `Urls` says where their links lead. All text is escaped by the templates.
"""

import re
from functools import cache
from typing import Any, Protocol

import jinja2
from markupsafe import Markup, escape

from music.viewer.query import Query
from music.viewer.views import detail_text

__all__ = ["Urls", "duration", "message_page", "render", "short_name"]

_SHORT = 26


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


def render(template: str, **values: Any) -> str:
    """Return the HTML of a template."""
    return _environment().get_template(template).render(**values)


def message_page(title: str, text: str, urls: Urls) -> str:
    """Return the HTML of a page that only says something, such as why there is nothing at an address."""
    return render("message.html.jinja", title=title, text=text, urls=urls, query=Query())


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
    environment.filters["short"] = short_name
    environment.filters["thousands"] = "{:,}".format
    return environment


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


def short_name(name: str) -> str:
    """Return the end of a long name."""
    return name if len(name) <= _SHORT else f"…{name[1 - _SHORT :]}"
