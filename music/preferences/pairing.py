"""`make_pairs` makes the pairs of a row from the sides that its shape gives."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from music.pairs import ContrastivePair, PreferencePair
from music.preferences.problems import Change, RowError, RowProblem
from music.preferences.row_messages import Consecutive, require_reply, to_conversation
from music.preferences.shapes import Fields, Sides
from music.preferences.sources import Row

__all__ = ["make_pairs"]

_CONTRASTIVE_FIELDS = ContrastivePair.model_fields.keys() - PreferencePair.model_fields.keys()
_REQUIRED_FIELDS = {name for name in _CONTRASTIVE_FIELDS if ContrastivePair.model_fields[name].is_required()}


def make_pairs(
    row: Row,
    fields: Fields,
    id: str,
    sides: Sequence[Sides],
    consecutive: Consecutive,
    changes: Counter[Change],
) -> tuple[PreferencePair, ...]:
    """Make the pairs of a row. If there are several, unusable ones are left out and counted.

    Args:
        row: The row.
        fields: Its columns.
        id: Its id; if the row gives several pairs, theirs end in `/1`, `/2` and so on.
        sides: The sides of its pairs.
        consecutive: What to do with two consecutive messages by one speaker.
        changes: The counter of changes; it is updated.

    Raises:
        RowError: There are sides, but no pair is usable.
    """
    pairs: list[PreferencePair] = []
    fault: RowError | None = None
    for number, both in enumerate(sides, start=1):
        own: Counter[Change] = Counter()
        try:
            pair = _pair(row, fields, id if len(sides) == 1 else f"{id}/{number}", both, consecutive, own)
        except RowError as error:
            fault, own = fault or error, Counter({Change.UNUSABLE_SIDES: 1})
        else:
            pairs.append(pair)
            own[Change.TOOLS] += pair.chosen.has_tools or pair.rejected.has_tools
        changes.update(own)
    if fault is not None and not pairs:
        raise fault
    return tuple(pairs)


def _pair(
    row: Row, fields: Fields, id: str, sides: Sides, consecutive: Consecutive, changes: Counter[Change]
) -> PreferencePair:
    chosen, rejected = (
        require_reply(to_conversation(side, name, consecutive, changes), name)
        for side, name in zip(sides, ("chosen", "rejected"), strict=True)
    )
    if chosen == rejected:
        raise RowError(RowProblem.IDENTICAL_SIDES, "rejected", expected="another conversation", got="the chosen one")
    source = fields.get("source")
    common = {
        "id": id,
        "source": source if isinstance(source, str) else row.stem,
        "chosen": chosen,
        "rejected": rejected,
    }
    if all(fields.get(name) is not None for name in _REQUIRED_FIELDS):
        return _contrastive(fields, common)
    return PreferencePair(**common)


def _contrastive(fields: Mapping[str, Any], common: Mapping[str, Any]) -> ContrastivePair:
    record = {name: fields[name] for name in _CONTRASTIVE_FIELDS if fields.get(name) is not None}
    # A table has a column for each role in any of its rows, so a role that this row lacks is null.
    if isinstance(record["models"], dict):
        record["models"] = {role: name for role, name in record["models"].items() if name is not None}
    try:
        return ContrastivePair.model_validate({**record, **common})
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        got = repr(fault["input"])[:40]
        raise RowError(RowProblem.WRONG_TYPE, place, expected=fault["msg"], got=got) from error
