"""RMB (arXiv 2410.09893): pairs and best-of-N lists over 49 scenarios of helpfulness and harmlessness.

A pair is right if the chosen side scores strictly higher; a list is right if its best completion scores higher than all
others. The score of each of the four sets (pairs and lists, helpful and harmless) is the mean over its rows; the
overall score is their mean. `conversation_input` may hold earlier turns, so there are figures by number of turns.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from music.conversation import Conversation, Message
from music.evaluation.benchmarks.fields import prompt_key, read_key, reply, row_fields, wrong
from music.evaluation.benchmarks.scored import ScoredItems
from music.evaluation.benchmarks.types import Item, LeftOutError, Scores
from music.preferences.messages import read_messages, read_text
from music.preferences.problems import RowError, RowProblem
from music.preferences.sources import Row
from music.statistics import Figure

__all__ = ["RMB"]

GOALS = ("helpfulness", "harmlessness")
SETS = tuple(f"{kind}, {goal}" for goal in GOALS for kind in ("best-of-N", "pairs"))


class RMB:
    """RMB, from the files of its pairs and its best-of-N lists."""

    name = "rmb"
    source = "Zhou-Zoey/RMB-Reward-Model-Benchmark, the files under `RMB_dataset`; arXiv 2410.09893"
    split = "train"

    def read(self, row: Row) -> Iterable[Item]:
        """Return the item of a row, its best completion first.

        Raises:
            RowError: The row is bad.
            LeftOutError: The prompt or an answer is blank, as in a few rows of the published files; chat templates
                cannot render them.
        """
        try:
            return [_item(row_fields(row))]
        except RowError as error:
            if error.problem is RowProblem.EMPTY_TEXT:
                raise LeftOutError("a blank prompt or answer") from error
            raise

    def figures(self, items: Sequence[Item], scores: Scores) -> list[Figure]:
        """Return the mean of the four sets, each of them, and each by number of turns and by scenario."""
        scored = ScoredItems(items, scores)
        groups = scored.group(lambda item: item.subset)
        missing = [name for name in SETS if name not in groups]
        name = f"mean of {len(groups)} of {len(SETS)} sets" if missing else "mean of the four sets"
        note = f"missing: {'; '.join(missing)}" if missing else "unweighted"
        shares = [scored.share(where, 1 / len(groups)) for where in groups.values()]
        sets = [scored.accuracy(name, groups.get(name), table="sets") for name in SETS]
        chance = float(np.mean([one.chance for one in sets if one.chance is not None]))
        return [
            scored.figure(name, *shares, chance=chance, note=note),
            *sets,
            *sorted(scored.accuracies("turns", _turns), key=lambda figure: figure.name),
            *scored.accuracies("scenarios", lambda item: f"{item.subset}: {item.tags['scenario']}"),
        ]


def _item(fields: Mapping[str, Any]) -> Item:
    is_pair = "pair_uid" in fields
    best, worse = ("chosen", "reject") if is_pair else ("bon_best", "loser_list")
    uid = read_key(fields, "pair_uid" if is_pair else "bon_uid")
    goal, scenario = _category(fields)
    history = read_messages(fields, "conversation_input")
    others = [fields.get(worse)] if is_pair else fields.get(worse)
    if not isinstance(others, list) or not others:
        raise wrong(worse, "a list of {llm_name, answer}", type(others).__name__)
    completions = (_reply(history, fields.get(best), best), *(_reply(history, other, worse) for other in others))
    kind = "pairs" if is_pair else "best-of-N"
    return Item(
        id=f"{kind}/{uid}",
        subset=f"{kind}, {goal}",
        completions=completions,
        labels=(1.0,) + (0.0,) * len(others),
        prompt_id=prompt_key("\n".join(message.content for message in history)),
        tags={"scenario": scenario, "turns": completions[0].num_turns},
    )


def _category(fields: Mapping[str, Any]) -> tuple[str, str]:
    """Return the goal and the scenario of `Pairwise_set/Helpfulness/Code/Documentation`."""
    path = read_text(fields, "category_path")
    _, _, rest = path.partition("/")
    goal, _, scenario = rest.partition("/")
    if goal.lower() not in GOALS:
        raise wrong("category_path", "'<set>/Helpfulness/...' or '<set>/Harmlessness/...'", repr(path))
    return goal.lower(), scenario


def _reply(history: Sequence[Message], value: Any, name: str) -> Conversation:
    if not isinstance(value, dict):
        raise wrong(name, "{llm_name, answer}", type(value).__name__)
    return reply(history, read_text(value, "answer"), name)


def _turns(item: Item) -> str:
    turns = item.tags["turns"]
    return f"{item.subset}: {turns} turn{'s' * (turns != 1)}"
