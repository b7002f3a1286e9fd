"""`agreement_of`: how often people's labels agree with the data and with reward models.

A label agrees with the data if it says that the chosen side is better, and with a model if the model's reward of the
side that it calls better is higher. Ties are counted, but are neither. Equal rewards are a miss.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from music.viewer.index import Index
from music.viewer.labels import PAIR_TURN, Label, LabelStore, Verdict
from music.viewer.scores import margin_name

if TYPE_CHECKING:
    from music.statistics.estimates import Estimate

__all__ = ["Agreement", "AgreementRow", "agreement_of", "find_agreement"]

DATA = "data"


@dataclass(frozen=True, slots=True)
class AgreementRow:
    """The agreement of some labels.

    Attributes:
        name: Which labels.
        num_labels: Their number.
        num_ties: How many of them are ties.
        shares: For each judge the share of labels that agree, with Wilson's interval; None without any.
    """

    name: str
    num_labels: int
    num_ties: int
    shares: tuple["Estimate | None", ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of all labels of a set.

    Attributes:
        judges: What labels are compared with: the data's labels, and each model.
        rows: All pairs, pairs by number of turns, and single turns.
        num_notes: The number of notes.
        num_elsewhere: The number of labelled pairs in the file that the set does not have.
    """

    judges: tuple[str, ...]
    rows: tuple[AgreementRow, ...]
    num_notes: int
    num_elsewhere: int

    @property
    def text(self) -> str:
        """The table as text."""
        head = ("labels", "number", "ties", *self.judges)
        cells = [(row.name, str(row.num_labels), str(row.num_ties), *map(share_text, row.shares)) for row in self.rows]
        widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (head, *cells)
        ]
        return "\n".join([*lines, *self.remarks])

    @property
    def remarks(self) -> list[str]:
        """Sentences below the table."""
        remarks = ["Share of labels that agree, ties left out, with Wilson's 95% interval and the number of labels."]
        if self.num_elsewhere:
            remarks.append(f"{self.num_elsewhere} labelled pairs of the label file are not in this set.")
        return remarks


def share_text(share: "Estimate | None") -> str:
    """Return for example `0.750 [0.301, 0.954] of 4`."""
    return f"{share} of {share.num}" if share else "–"


def agreement_of(
    labels: Sequence[Label], turns: Mapping[str, int], margins: Mapping[str, Mapping[str, float]]
) -> Agreement:
    """Compare labels with the data and with models.

    Args:
        labels: All labels of a file.
        turns: The number of turns of each pair of the set that has a label, by text key.
        margins: By model, the reward of the chosen side less that of the rejected one, by text key.
    """
    here = [label for label in labels if label.key in turns]
    decided = [label for label in here if label.verdict]
    pairs = [label for label in decided if label.turn == PAIR_TURN]
    groups = {"all pairs": pairs}
    for num in sorted({turns[label.key] for label in pairs}):
        groups[f"{num} turn{'s' * (num > 1)}"] = [label for label in pairs if turns[label.key] == num]
    rows = [_row(name, group, margins.values()) for name, group in groups.items()]
    if single := [label for label in decided if label.turn != PAIR_TURN]:
        rows.append(_row("single turns", single, [{}] * len(margins)))
    return Agreement(
        judges=(DATA, *margins),
        rows=tuple(rows),
        num_notes=sum(bool(label.note) for label in here),
        num_elsewhere=len({label.key for label in labels} - turns.keys()),
    )


def find_agreement(index: Index, store: LabelStore, models: Iterable[str] = ()) -> Agreement:
    """Compare the labels of a file with the pairs of an index, and with the margins of models that it has."""
    labels = store.all()
    turns = index.present({label.key for label in labels})
    return agreement_of(labels, turns, {model: index.values(margin_name(model), turns) for model in models})


def _row(name: str, labels: Sequence[Label], margins: Iterable[Mapping[str, float]]) -> AgreementRow:
    decisions = [(label.key, label.verdict is Verdict.AGREE) for label in labels if label.verdict is not Verdict.TIE]
    shares = [_share([(key, agrees) for key, agrees in decisions])]
    for each in margins:
        shares.append(
            _share([(key, each[key] > 0 if agrees else each[key] < 0) for key, agrees in decisions if key in each])
        )
    return AgreementRow(name, len(labels), len(labels) - len(decisions), tuple(shares))


def _share(hits: Sequence[tuple[str, bool]]) -> "Estimate | None":
    """Return the share of hits; labels of the turns of one pair are not independent."""
    if not hits:
        return None
    from music.statistics.proportions import proportion  # as long to import as the whole server

    return proportion([float(hit) for _, hit in hits], clusters=[key for key, _ in hits])
