"""`ScoreStore`, the file of scores: a header, then one JSON line for each item.

Rows are on disk before the next ones are computed. A killed run resumes after the last whole line. A file belongs to
one model and one set of items; the rows of others are never added to it or read from it.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from music.errors import InvalidInputError
from music.evaluation.benchmarks.types import ItemSet
from music.evaluation.scoring.records import ItemScores, ScoreSet, ScoresHeader, hash_items
from music.files import append_to_file

__all__ = ["ScoreStore", "read_scores"]


class ScoreStore:
    """A file of scores, open for writing."""

    def __init__(self, path: Path, rows: dict[str, ItemScores]) -> None:
        self._path = path
        self._rows = rows

    @classmethod
    def open(cls, path: Path, header: ScoresHeader, items: ItemSet) -> Self:
        """Start a file, or continue an existing one; an incomplete last line is cut off.

        The file of a reward without a fingerprint is started anew.

        Raises:
            InvalidInputError: The file is of another model, benchmark or set of items, or is not a file of scores.
        """
        content = _whole_lines(path) if path.exists() else b""
        if content:
            found, rows = _parse(path, content)
            _require_same_model(path, found, header)
            _require_of(path, found, rows, items)
            if header.fingerprint is not None:
                os.truncate(path, len(content))
                return cls(path, rows)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(header.model_dump_json() + "\n", encoding="utf-8")
        return cls(path, {})

    @property
    def rows(self) -> Mapping[str, ItemScores]:
        """The rows by item id, those of an earlier run included."""
        return self._rows

    def append(self, rows: Sequence[ItemScores]) -> None:
        """Write rows; they are on disk when this returns.

        Raises:
            MusicError: They could not be written; the file is unchanged.
        """
        lines = "".join(row.model_dump_json(exclude_defaults=True) + "\n" for row in rows)
        append_to_file(self._path, lines.encode())
        self._rows |= {row.id: row for row in rows}


def read_scores(path: Path, items: ItemSet) -> ScoreSet:
    """Read the scores of all items of a set, whatever model gave them.

    Raises:
        InvalidInputError: The file is not a file of scores, is of other items, or lacks some of them.

    Example:
        >>> from pathlib import Path
        >>> from music.evaluation import load_benchmark, load_scored_model, read_benchmark, read_scores, score_items
        >>> from music.preferences import write_preferences
        >>> from music.sandbox.world.seeds import seed_pairs
        >>> write_preferences(seed_pairs(20, 0), "pairs.jsonl")
        20
        >>> benchmark = load_benchmark("preferences")
        >>> items = read_benchmark(benchmark, ["pairs.jsonl"])
        >>> path = Path("scores.jsonl")
        >>> scores = score_items(items, load_scored_model("length"), path)
        >>> read_scores(path, items).rows == scores.rows
        True
    """
    if not path.is_file():
        raise InvalidInputError(f"{path}: expected a file of scores; there is no such file")
    header, rows = _parse(path, _whole_lines(path))
    _require_of(path, header, rows, items)
    if missing := [item.id for item in items.items if item.id not in rows]:
        raise InvalidInputError(
            f"{path}: expected scores of {len(items.items)} items, got {len(rows)}; for example, {missing[0]!r} is "
            f"missing. Its run was interrupted; finish it with --model {header.model}"
        )
    return ScoreSet(header=header, rows=rows)


def _whole_lines(path: Path) -> bytes:
    """Return a file's content up to the last line break; the rest was being written when the run was killed."""
    content = path.read_bytes()
    return content[: content.rfind(b"\n") + 1]


def _parse(path: Path, content: bytes) -> tuple[ScoresHeader, dict[str, ItemScores]]:
    first, *lines = content.splitlines() or [b""]
    try:
        header = ScoresHeader.model_validate_json(first)
    except ValidationError as error:
        raise InvalidInputError(f"{path}, line 1: expected the header of a file of scores: {_fault(error)}") from error
    rows: dict[str, ItemScores] = {}
    for number, line in enumerate(lines, start=2):
        row = _row(f"{path}, line {number}", line)
        if row.id in rows:
            raise InvalidInputError(
                f"{path}, line {number}: expected each item once, got {row.id!r} again; "
                "did two runs write here at once? Remove the file and run again"
            )
        rows[row.id] = row
    return header, rows


def _row(place: str, line: bytes) -> ItemScores:
    try:
        return ItemScores.model_validate_json(line)
    except ValidationError as error:
        if b'"music.scores"' in line:
            raise InvalidInputError(
                f"{place}: expected the scores of an item, got the header of another file. Keep the scores of two runs "
                "in two files"
            ) from error
        raise InvalidInputError(f"{place}: expected the scores of an item: {_fault(error)}") from error


def _fault(error: ValidationError) -> str:
    """Return the first fault, with its field."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'line'}: {first['msg']}"


def _require_same_model(path: Path, found: ScoresHeader, expected: ScoresHeader) -> None:
    """Refuse another model's scores. Names count only where there is no fingerprint: a model may have been moved."""
    ours, theirs = ((each.fingerprint or each.model) for each in (expected, found))
    if ours != theirs:
        raise InvalidInputError(
            f"{path} holds scores of another model: {found.model} ({_short(theirs)}), not {expected.model} "
            f"({_short(ours)}); give another --out, or remove the file"
        )


def _short(fingerprint: str) -> str:
    return fingerprint[:12]


def _require_of(path: Path, header: ScoresHeader, rows: Mapping[str, ItemScores], items: ItemSet) -> None:
    """Refuse scores of other items, and rows with a wrong number of scores."""
    if header.benchmark != items.benchmark:
        raise InvalidInputError(f"{path}: expected scores of {items.benchmark}, got scores of {header.benchmark}")
    if header.items != hash_items(items.items):
        raise InvalidInputError(
            f"{path}: expected scores of these {len(items.items)} items, got scores of {header.num_items} others (ids "
            "or texts differ); pass the files and the --limit that it was made with, or another --out"
        )
    sizes = {item.id: len(item.completions) for item in items.items}
    for row in rows.values():
        if sizes.get(row.id) != len(row.scores):
            raise InvalidInputError(
                f"{path}: expected {sizes.get(row.id, 'no')} scores of {row.id!r}, got {len(row.scores)}"
            )
