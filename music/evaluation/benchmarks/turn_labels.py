"""Turn labels: does the reward after each turn agree with a label of how good that turn is?

A conversation is scored after each of its turns: the completions of an item are prefixes of one conversation. They
share their tokens, so they cost little more than the whole. Two readings of these rewards are measured. *After the
turn* is the reward itself, which suits a reward model that reads the last turn only. *Change by the turn* is the reward
minus the reward after the turn before, which suits a model that judges the whole conversation. The first turn has no
change.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from music.evaluation.benchmarks.defects import MANY, position_name
from music.evaluation.benchmarks.fields import prompt_key, row_fields, wrong
from music.evaluation.benchmarks.scored import ScoredItems, WeightedMean, joined
from music.evaluation.benchmarks.turn_agreement import (
    LabelledTurns,
    area_under_curve,
    changes,
    rank_correlations,
    worst_found,
)
from music.evaluation.benchmarks.types import Item, LeftOutError, Scores
from music.preferences.messages import read_messages, read_side
from music.preferences.rows import row_id
from music.preferences.sources import Row
from music.statistics import Figure

__all__ = ["TurnLabels"]

AUC, RANKS, WORST = "AUC", "rank correlation", "worst turn found"


class TurnLabels:
    """Conversations with a label for each assistant turn.

    - Rank correlation: Spearman's correlation within a conversation, averaged over conversations.
    - Worst turn found: how often the turn with the lowest reward has the lowest label.
    - AUC: how often a flawless turn (label 1) has a higher reward than a flawed one, over all conversations. It is not
      compared between models: swapping them on some conversations would mix rewards of two scales.
    """

    name = "turn_labels"
    source = "rows of `messages` and `labels`: of each assistant turn 1 (nothing is wrong) to 0, true, false or null"
    split = "test"

    def read(self, row: Row) -> Iterable[Item]:
        """Return the conversation of a row, cut after each of its assistant turns.

        Raises:
            RowError: The row is bad.
            LeftOutError: None of its turns has a label.
        """
        fields = row_fields(row)
        conversation = read_side(read_messages(fields, "messages"), "messages")
        prompt = next(message.content for message in conversation.messages if message.role == "user")
        item = Item(
            id=row_id(row, fields),
            subset=row.stem,
            completions=tuple(conversation.prefix(end) for end in conversation.turn_ends),
            labels=_labels(fields, conversation.num_turns),
            prompt_id=prompt_key(prompt),
        )
        if np.isnan(item.labels).all():
            raise LeftOutError("no turn has a label")
        return [item]

    def figures(self, items: Sequence[Item], scores: Scores) -> list[Figure]:
        """Return the agreement overall and by the number of turns that follow, in both readings."""
        scored = ScoredItems(items, scores)
        after, change = LabelledTurns.of(scored, scored.scores), LabelledTurns.of(scored, changes(scored))
        return [
            *_agreement(scored, after, "overall", "reward after the turn"),
            *_agreement(scored, change, "change by the turn", "from the second turn on"),
            *_by_place(scored, after, "{}"),
            *_by_place(scored, change, "change by the turn: {}"),
        ]


def _labels(fields: Mapping[str, Any], num_turns: int) -> tuple[float, ...]:
    """Return the labels; NaN for a turn without one."""
    labels = fields.get("labels")
    if not isinstance(labels, list) or len(labels) != num_turns:
        got = f"{len(labels)} of them" if isinstance(labels, list) else repr(labels)[:40]
        raise wrong("labels", f"a list of {num_turns} labels, one for each assistant turn", got)
    for index, label in enumerate(labels):
        if label is not None and not (isinstance(label, bool | int | float) and 0 <= label <= 1):
            raise wrong(f"labels[{index}]", "a number from 0 to 1, true, false or null", repr(label)[:40])
    return tuple(np.nan if label is None else float(label) for label in labels)


def _agreement(scored: ScoredItems, turns: LabelledTurns, table: str, reading: str) -> list[Figure]:
    """Return the three figures of a reading."""
    some = turns.of_unlike_labels()
    num_alike = len(np.unique(turns.items)) - len(np.unique(some.items))
    left_out = f"{num_alike} conversations whose turns are all worth the same left out" if num_alike else ""
    if not len(some):
        none = [scored.figure(name, table=table, note=joined(reading, left_out)) for name in (RANKS, WORST)]
        return [*none, _auc(turns, AUC, table)]
    correlations = rank_correlations(some.conversations, some.rewards, some.labels)
    where, note = np.unique(some.items), joined(reading, left_out)
    return [
        scored.figure(RANKS, WeightedMean(correlations, where), table=table, chance=0.0, note=note),
        _worst(scored, some, WORST, table),
        _auc(turns, AUC, table),
    ]


def _by_place(scored: ScoredItems, turns: LabelledTurns, title: str) -> Iterator[Figure]:
    """Yield the AUC by how many turns follow, and how often the worst turn is found, by how many turns follow it."""
    followers = np.minimum(turns.followers, MANY)
    for place in np.unique(followers).tolist():
        here = turns.where(followers == place)
        yield _auc(here, position_name(place), title.format("AUC by turns that follow"))
    single = turns.of_unlike_labels().of_one_worst()
    followers_of_worst = np.minimum(single.fold(np.add, np.where(single.is_worst, single.followers, 0.0)), MANY)
    table = title.format("worst turn found, by turns that follow")
    for place in np.unique(followers_of_worst).astype(int).tolist():
        yield _worst(scored, single.where(followers_of_worst == place), position_name(place), table)


def _auc(turns: LabelledTurns, name: str, table: str) -> Figure:
    is_flawless = turns.labels == 1
    num, num_flawed = int(is_flawless.sum()), int((~is_flawless).sum())
    return Figure(
        name=name,
        table=table,
        estimate=area_under_curve(turns.rewards, is_flawless, turns.prompts) if num and num_flawed else None,
        num_items=len(np.unique(turns.items)),
        chance=0.5,
        note=f"{num} flawless and {num_flawed} flawed turns",
    )


def _worst(scored: ScoredItems, turns: LabelledTurns, name: str, table: str) -> Figure:
    found, chances = worst_found(turns.conversations, turns.rewards, turns.labels)
    return scored.figure(name, WeightedMean(found, np.unique(turns.items)), table=table, chance=float(chances.mean()))
