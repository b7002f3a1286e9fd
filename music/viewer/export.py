"""`write_labelled`: labelled pairs as a table of preferences that `music train` and `music evaluate` read.

A pair that people disagree with has its sides swapped. Ties and pairs without a label are left out.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from music.conversation import Message
from music.errors import InvalidInputError
from music.files import whole_file
from music.viewer.index import Index
from music.viewer.labels import PAIR_TURN, Label, LabelStore, Verdict
from music.viewer.records import Record, text_key

__all__ = ["Exported", "export_labelled", "write_labelled"]


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export contains.

    Attributes:
        num_pairs: The number of pairs in it.
        num_swapped: How many of them have their sides swapped.
        num_ties: The number of ties, which are left out.
        num_elsewhere: The number of labelled pairs of the label file that the set does not have.
    """

    num_pairs: int
    num_swapped: int
    num_ties: int
    num_elsewhere: int

    @property
    def text(self) -> str:
        """For example `20 pairs, 3 of them swapped; left out: 2 ties, 0 labelled pairs that are not in this set`."""
        return (
            f"{self.num_pairs} pairs, {self.num_swapped} of them swapped; left out: {self.num_ties} ties, "
            f"{self.num_elsewhere} labelled pairs that are not in this set"
        )


def export_labelled(path: Path, index: Index, store: LabelStore) -> Exported:
    """Write the labelled pairs of an index to a file, all or none.

    Raises:
        InvalidInputError: The path does not end in `.parquet`, or no pair has a label that is not a tie.
    """
    if path.suffix.lower() != ".parquet":
        raise InvalidInputError(f"--export {path}: expected a path ending in .parquet")
    with whole_file(path) as file:
        exported = write_labelled(file, index, store)
        if not exported.num_pairs:
            raise InvalidInputError(f"--export {path}: expected labelled pairs in {store.path}, got {exported.text}")
    return exported


def write_labelled(file: BinaryIO, index: Index, store: LabelStore) -> Exported:
    """Write the labelled pairs of an index as parquet, in the order of the index."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    labels: dict[str, dict[int, Label]] = {}
    for label in store.all():
        labels.setdefault(label.key, {})[label.turn] = label
    decided = {key: each[PAIR_TURN].verdict for key, each in labels.items() if PAIR_TURN in each}
    decided = {key: verdict for key, verdict in decided.items() if verdict}
    present = index.present(decided)
    exported = [key for key in decided if decided[key] is not Verdict.TIE]
    rows = [_row(record, labels[text_key(key)]) for key, record in index.records(exported)]
    pq.write_table(pa.Table.from_pylist(rows, schema=_schema()), file)
    return Exported(
        num_pairs=len(rows),
        num_swapped=sum(row["label"] == Verdict.DISAGREE for row in rows),
        num_ties=sum(decided[key] is Verdict.TIE for key in present),
        num_elsewhere=len(decided) - len(present),
    )


def _row(record: Record, labels: dict[int, Label]) -> dict[str, Any]:
    label = labels[PAIR_TURN]
    better, worse = record.sides if label.verdict is Verdict.AGREE else reversed(record.sides)
    return {
        "id": record.id,
        "source": record.source,
        "chosen": [_message(message) for message in better.messages],
        "rejected": [_message(message) for message in worse.messages],
        "seed_id": record.seed_id,
        "label": label.verdict,
        "note": label.note,
        "labeller": label.labeller,
        "labelled_at": label.time,
        "turn_labels": [
            {"turn": turn, "label": each.verdict, "note": each.note} for turn, each in labels.items() if turn
        ],
    }


def _message(message: Message) -> dict[str, Any]:
    tools = {"tool_calls": message.tool_calls, "tool_call_id": message.tool_call_id, "name": message.name}
    return {"role": message.role, "content": message.content} | {name: value or None for name, value in tools.items()}


def _schema() -> Any:
    import pyarrow as pa

    text = pa.string()
    message = pa.struct([(name, text) for name in ("role", "content", "tool_calls", "tool_call_id", "name")])
    turn = pa.struct([("turn", pa.int64()), ("label", text), ("note", text)])
    sides = [("chosen", pa.list_(message)), ("rejected", pa.list_(message))]
    plain = ("seed_id", "label", "note", "labeller", "labelled_at")
    return pa.schema(
        [("id", text), ("source", text), *sides, *((name, text) for name in plain), ("turn_labels", pa.list_(turn))]
    )
