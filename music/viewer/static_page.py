"""`write_static`: one HTML file of some records, for a colleague: it opens without a server and loads nothing.

The style and the script are in the page, and its policy allows them alone, by their hashes. Without JavaScript the
records stand below each other; with it, one is shown at a time.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import resources
from pathlib import Path

from markupsafe import Markup

from music.errors import InvalidInputError
from music.files import replace_file
from music.viewer.charts import RewardView
from music.viewer.records import Record, key_of
from music.viewer.rendering import render
from music.viewer.turns import Facts, facts_of
from music.viewer.views import RecordView, view_of

__all__ = ["StaticRecord", "write_static"]

MAX_BYTES = 10 * 2**20


@dataclass(frozen=True, slots=True)
class StaticRecord:
    """A record of a static page.

    Attributes:
        record: The record.
        margins: The margins of a pair, by the name of what gives them.
        rewards: The rewards of a pair by each model, for charts.
    """

    record: Record
    margins: Mapping[str, float] = field(default_factory=dict)
    rewards: Sequence[RewardView] = ()

    @property
    def view(self) -> RecordView:
        """What the page shows of it."""
        return view_of(self.record)

    @property
    def facts(self) -> Facts:
        """What the list shows of it."""
        return facts_of(self.record)


def write_static(path: Path, title: str, intro: str, records: Sequence[StaticRecord]) -> int:
    """Write a page of records, completely or not at all, and return its number of bytes.

    Args:
        path: The file.
        title: The title of the page.
        intro: What was selected, in a sentence.
        records: The records in order.

    Raises:
        InvalidInputError: The page would be larger than 10 MB.
        MusicError: It cannot be written.
    """
    page = _static_page(title, intro, records).encode("utf-8", "replace")
    if len(page) > MAX_BYTES:
        raise InvalidInputError(
            f"{path}: expected at most {MAX_BYTES / 2**20:.0f} MB, which browsers and mail take; these "
            f"{len(records):,} conversations make {len(page) / 2**20:.1f} MB: choose fewer (--limit, --search)"
        )
    replace_file(path, page)
    return len(page)


def _static_page(title: str, intro: str, records: Sequence[StaticRecord]) -> str:
    folder = resources.files("music.viewer") / "assets"
    style = (folder / "viewer.css").read_text(encoding="utf-8")
    script = (folder / "static.js").read_text(encoding="utf-8")
    keys: dict[str, StaticRecord] = {}
    for each in records:
        key = key_of(each.record)
        keys[key if key not in keys else f"{key}-{len(keys)}"] = each
    return render(
        "static.html.jinja",
        title=title,
        intro=intro,
        records=keys,
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def _hash(content: str) -> str:
    """Return the hash by which a policy allows a style or a script."""
    return f"sha256-{base64.b64encode(sha256(content.encode()).digest()).decode()}"
