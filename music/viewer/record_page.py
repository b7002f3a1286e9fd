"""`record_page`: the page of a record: its sides beside each other, its rewards, and the forms of its labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from music.viewer.charts import RewardView
from music.viewer.labels import Label, Verdict
from music.viewer.listing import Neighbours
from music.viewer.query import Query
from music.viewer.records import Record
from music.viewer.rendering import Urls, render
from music.viewer.views import view_of

__all__ = ["LabelForm", "RecordPage", "record_page"]

VERDICTS = (
    (Verdict.AGREE, "Agree", "a", "chosen is better"),
    (Verdict.DISAGREE, "Disagree", "d", "rejected is better"),
    (Verdict.TIE, "Tie", "t", "neither is better"),
)
"""Each verdict with its name, its key and its meaning."""


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
