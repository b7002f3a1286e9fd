"""`score_part`, which scores one part into its file, and `summarise`, the statistics of all files."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from music.errors import InvalidInputError, MusicError
from music.files import whole_file
from music.preferences.blocks import Block, block_rows
from music.preferences.problems import RowError, RowProblem
from music.preferences.reader import bad_row
from music.preferences.row_messages import require_reply
from music.preferences.rows import ReadRow, read_row
from music.preferences.shapes import shape_named
from music.preferences.shapes.comparisons import grouped
from music.reward.model import RewardModel
from music.reward.report import score_row
from music.reward.scored_set.manifest import InputFile, Manifest, Plan
from music.reward.summaries import ConversationSummary, PairSummary, num_shared_turns
from music.reward.tokens.contract import Scored, Unscorable

__all__ = ["is_done", "part_path", "score_part", "summarise"]

TIE = "tie"
"""The `row_problem` of a row whose comparisons all end in a tie."""
_NUM_ROWS = b"num_rows"
"""Key in a file's metadata of the number of rows of the input that it stands for."""


def part_path(out: Path, number: int) -> Path:
    """Return the path of the file of a part."""
    return out / f"part-{number:05d}.parquet"


def is_done(path: Path) -> bool:
    """Whether the file of a part is there and whole."""
    try:
        return _NUM_ROWS in (pq.read_metadata(path).metadata or {})
    except (OSError, pa.ArrowException):
        return False


def score_part(model: RewardModel, plan: Plan, number: int, out: Path) -> int:
    """Score one part into its file, unless the file is there, and return the number of its rows of the input.

    Raises:
        InvalidInputError: The input has changed or is damaged, or a row cannot be used and the settings are strict.
    """
    path, block = part_path(out, number), plan.blocks[number]
    if is_done(path):
        return _num_rows(path)
    _require_unchanged(plan, block)
    num_rows, schema = 0, _schema(plan)
    with whole_file(path) as file, pq.ParquetWriter(file, schema, write_page_checksum=True) as writer:
        reads = _read(plan, block)
        while some := list(islice(reads, plan.settings.part_rows)):
            rows = _pair_rows(model, plan, some) if plan.is_pairs else _conversation_rows(model, plan, some)
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            num_rows += sum(read.row.span for read in some)
        writer.add_key_value_metadata({_NUM_ROWS.decode(): str(num_rows)})
        _require_unchanged(plan, block)
    return num_rows


def summarise(out: Path, manifest: Manifest) -> tuple[dict[str, Any], str]:
    """Return the statistics of all parts by name, and as readable text.

    Raises:
        MusicError: A file is missing or damaged.
    """
    plan, readout = manifest.plan, manifest.model.readout
    summary = PairSummary(readout, per_turn=plan.settings.per_turn) if plan.is_pairs else ConversationSummary(readout)
    num_rows, problems = 0, Counter[str]()
    for path in (part_path(out, number) for number in range(len(plan.blocks))):
        try:
            num_rows += _num_rows(path)
            for row in _rows_of(path, plan):
                if row["row_problem"] is not None:
                    problems[row["row_problem"]] += 1
                elif isinstance(summary, PairSummary):
                    summary.add(_scored(row["chosen"]), _scored(row["rejected"]), row.get("num_shared_turns") or 0)
                else:
                    summary.add(_scored(row))
        except (OSError, pa.ArrowException) as error:
            raise MusicError(f"{path}: expected the whole file of a part ({error}); delete it and run again") from error
    what = "pair" if plan.is_pairs else "conversation"
    without = ", ".join(f"{num} {problem}" for problem, num in problems.items()) or "none"
    result = {"num_rows": num_rows, f"num_rows_without_{what}": dict(problems)} | summary.result()
    return result, f"rows: {num_rows}, without a {what}: {without}\n{summary.text()}"


def _schema(plan: Plan) -> pa.Schema:
    score: list[tuple[str, Any]] = [
        ("score", pa.float64()),
        ("num_dropped_turns", pa.int64()),
        ("problem", pa.string()),
    ]
    score += [("turns", pa.list_(pa.float64()))] if plan.settings.per_turn else []
    own = score
    if plan.is_pairs:
        own = [("chosen", pa.struct(score)), ("rejected", pa.struct(score)), ("margin", pa.float64())]
        own += [("num_shared_turns", pa.int64())] if plan.settings.per_turn else []
    place = [("file", pa.string()), ("row", pa.int64()), ("id", pa.string())]
    return pa.schema([*place, *own, ("row_problem", pa.string())])


def _read(plan: Plan, block: Block) -> Iterator[ReadRow]:
    """Yield the result of reading each row of a block."""
    settings = plan.settings
    for row in grouped(block_rows(block)):
        read = read_row(
            row,
            shape_named(plan.format),
            is_forced=plan.is_pairs and settings.format is not None,
            consecutive=settings.consecutive,
            with_conversations=not plan.is_pairs,
        )
        read = read if plan.is_pairs or read.error is not None else _with_reply(read)
        if settings.strict and read.error is not None:
            raise bad_row(block.path, row, read.error) from read.error
        yield read


def _with_reply(read: ReadRow) -> ReadRow:
    """Return a row of a conversation unchanged, or with the reason why it cannot be scored."""
    try:
        if read.conversation is None:
            raise RowError(RowProblem.WRONG_TYPE, "row", expected="one conversation", got=f"a row of {read.format}")
        require_reply(read.conversation, str(read.format))
    except RowError as error:
        return ReadRow(row=read.row, id=read.id, format=read.format, error=error)
    return read


def _pair_rows(model: RewardModel, plan: Plan, reads: Sequence[ReadRow]) -> list[dict[str, Any]]:
    per_turn = plan.settings.per_turn
    sides = [side for read in reads for pair in read.pairs for side in (pair.chosen, pair.rejected)]
    scored = iter(model.score_each(sides, per_turn=per_turn))
    rows: list[dict[str, Any]] = []
    for read in reads:
        for pair in read.pairs:
            better, worse = next(scored), next(scored)
            row = _place(read) | {"id": pair.id, "num_shared_turns": num_shared_turns(pair)}
            row |= {"chosen": score_row(better, per_turn=per_turn), "rejected": score_row(worse, per_turn=per_turn)}
            if better.score is not None and worse.score is not None:
                row["margin"] = better.score - worse.score
            rows.append(row)
        if not read.pairs:
            rows.append(_place(read) | {"row_problem": read.error.problem if read.error else TIE})
    return rows


def _conversation_rows(model: RewardModel, plan: Plan, reads: Sequence[ReadRow]) -> list[dict[str, Any]]:
    per_turn = plan.settings.per_turn
    conversations = [read.conversation for read in reads if read.conversation is not None]
    scored = iter(model.score_each(conversations, per_turn=per_turn))
    return [
        _place(read)
        | ({"row_problem": read.error.problem} if read.error else score_row(next(scored), per_turn=per_turn))
        for read in reads
    ]


def _place(read: ReadRow) -> dict[str, Any]:
    return {"file": read.row.file, "row": read.row.number, "id": read.id or None}


def _require_unchanged(plan: Plan, block: Block) -> None:
    began = next(file for file in plan.inputs if file.path == block.path)
    if InputFile.of(block.path) != began:
        raise InvalidInputError(
            f"{block.path}: expected it unchanged since the run was begun; restore it and run again"
        )


def _num_rows(path: Path) -> int:
    metadata = pq.read_metadata(path).metadata or {}
    return int(metadata[_NUM_ROWS])


def _rows_of(path: Path, plan: Plan) -> Iterator[dict[str, Any]]:
    columns = [name for name in _schema(plan).names if name not in ("file", "row", "id", "margin")]
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for batch in file.iter_batches(columns=columns):
            yield from batch.to_pylist()


def _scored(row: Mapping[str, Any]) -> Scored:
    problem = Unscorable(row["problem"]) if row["problem"] else None
    return Scored(row["score"], tuple(row.get("turns") or ()), row["num_dropped_turns"], problem)
