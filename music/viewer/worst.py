"""`write_worst`: a static page of the pairs that a model ranks worst, beside a report that links to it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.viewer.records import Kind, Record, Side
from music.viewer.static_page import StaticRecord, write_static

__all__ = ["RankedPair", "write_worst"]

NUM_WORST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedPair:
    """A pair and how a model ranks it.

    Attributes:
        id: Its id.
        chosen: The better conversation.
        rejected: The other one.
        margin: The reward of the better one less that of the other.
        source: Where it comes from, such as a subset; empty for none.
    """

    id: str
    chosen: Conversation
    rejected: Conversation
    margin: float
    source: str = ""


def write_worst(report: Path, ranked: Mapping[str, Iterable[RankedPair]]) -> dict[str, str]:
    """Write a page for each model with the ten pairs of the lowest margins.

    Args:
        report: The report, for example `report.html`; the page is `report-worst.html`, or `report-worst-1.html` and so
            on for several models.
        ranked: Pairs by the name of the model.

    Returns:
        What the report links to: the file names of the pages by the text of the link. A model without pairs has none.
    """
    for old in report.parent.glob(f"{report.stem}-worst*.html"):
        old.unlink()
    links: dict[str, str] = {}
    for number, (model, pairs) in enumerate(ranked.items(), start=1):
        path = report.with_name(f"{report.stem}-worst{f'-{number}' if len(ranked) > 1 else ''}.html")
        worst = nsmallest(NUM_WORST, pairs, key=lambda pair: pair.margin)
        if num := _write_as_many_as_fit(path, model, worst):
            what = "The pair" if num == 1 else f"The {num} pairs"
            links[f"{what} that {model} ranks worst, side by side"] = path.name
    return links


def _write_as_many_as_fit(path: Path, model: str, worst: list[RankedPair]) -> int:
    """Write the page of the worst pairs, of fewer if their texts are too long for one; return their number."""
    for num in range(len(worst), 0, -1):
        records = [StaticRecord(_record(pair), {"margin": pair.margin}) for pair in worst[:num]]
        intro = "The margin is the reward of the chosen side less that of the rejected one; the lowest come first."
        try:
            write_static(path, f"What {model} ranks worst", intro, records)
        except InvalidInputError:
            continue
        return num
    return 0


def _record(pair: RankedPair) -> Record:
    sides = (Side("chosen", pair.chosen.messages), Side("rejected", pair.rejected.messages))
    return Record(id=pair.id, kind=Kind.PAIR, data_set="", place="", sides=sides, source=pair.source)
