"""`import_scores` reads scores that were computed elsewhere, from a file of ids and scores.

The file says nothing about the model or the texts, so nothing but ids and sizes can be checked. The order is free, and
items may be missing: they are left out and counted. A file that `--out` wrote can be read too; its header is skipped.
"""

import math
from pathlib import Path
from typing import Any

from music.errors import InvalidInputError
from music.evaluation.benchmarks.fields import read_key, row_fields, wrong
from music.evaluation.benchmarks.types import Item, ItemSet
from music.evaluation.scoring.records import NOT_IN_FILE, ItemScores, ScoreSet, ScoresHeader, hash_items
from music.preferences.problems import RowError
from music.preferences.sources import Row, iter_rows

__all__ = ["import_scores"]


def import_scores(path: Path, items: ItemSet) -> ScoreSet:
    """Return the scores of a file, for the items that it has.

    Args:
        path: Rows of `id` and `scores`, one score for each completion in the benchmark's order; JSON lines, or any
            other file that holds rows.
        items: The items of the benchmark.

    Raises:
        InvalidInputError: A row is bad, or has an id that is unknown or repeated; the message names the row.

    Example:
        >>> from pathlib import Path
        >>> from music import Conversation
        >>> from music.evaluation.benchmarks.types import ItemSet
        >>> from music.evaluation import pair_item
        >>> tea = Conversation().user("Tea?")
        >>> items = ItemSet("drinks", (pair_item("a", "drinks", tea.assistant("Please."), tea.assistant("No.")),))
        >>> _ = Path("scores.jsonl").write_text('{"id": "a", "scores": [1.5, 0]}')
        >>> import_scores(Path("scores.jsonl"), items).rows["a"].scores
        (1.5, 0.0)
    """
    by_id = {item.id: item for item in items.items}
    found: dict[str, ItemScores] = {}
    places: dict[str, str] = {}
    for row in iter_rows(path):
        place = f"{path}, {row.unit} {row.number}"
        try:
            scores = _read(row, by_id, places, items.benchmark)
        except RowError as error:
            raise InvalidInputError(f"{place}, {error}") from error
        if scores is not None:
            places[scores.id], found[scores.id] = f"{row.unit} {row.number}", scores
    return ScoreSet(header=_header(path, items, len(found)), rows={item.id: _row(item, found) for item in items.items})


def _read(row: Row, by_id: dict[str, Item], places: dict[str, str], benchmark: str) -> ItemScores | None:
    """Return the scores of a row; None for the header of a file that `--out` wrote, and for an item without a score."""
    fields = row_fields(row)
    if fields.get("kind") == "music.scores":
        return None
    id_ = read_key(fields, "id")
    if id_ not in by_id:
        example = next(iter(by_id))
        raise wrong("id", f"the id of an item of {benchmark} that is evaluated, such as {example!r}", repr(id_))
    if id_ in places:
        raise wrong("id", "each id once", f"{id_!r}, which {places[id_]} has too")
    scores, num = fields.get("scores"), len(by_id[id_].completions)
    if not isinstance(scores, list) or len(scores) != num:
        got = f"{len(scores)} of them" if isinstance(scores, list) else repr(scores)[:40]
        raise wrong("scores", f"a list of {num} scores, one for each completion", got)
    if None in scores and fields.get("problem"):
        return None
    return ItemScores(id=id_, scores=tuple(_number(each, f"scores[{place}]") for place, each in enumerate(scores)))


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise wrong(name, "a finite number", repr(value)[:40])
    return float(value)


def _row(item: Item, found: dict[str, ItemScores]) -> ItemScores:
    return found.get(item.id) or ItemScores(id=item.id, scores=(None,) * len(item.completions), problem=NOT_IN_FILE)


def _header(path: Path, items: ItemSet, num: int) -> ScoresHeader:
    return ScoresHeader(
        benchmark=items.benchmark,
        items=hash_items(items.items),
        num_items=len(items.items),
        model=str(path),
        description=f"scores of {num} of {len(items.items)} items, computed elsewhere",
        fingerprint=None,
        versions={},
    )
