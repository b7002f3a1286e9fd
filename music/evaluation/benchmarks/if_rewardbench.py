"""IF-RewardBench (arXiv 2603.04738): replies to one instruction, ranked by the constraints that they meet.

The schema is that of thu-coai/IF-RewardBench on GitHub (README, and `metrics/analysis_overall_assessment.py`). A row
has `id`, `instruction_type` (`Single_Turn`, `Multi_Turn`, `System_Prompt`), `messages`, `responses` of `{response_id,
response, labels}`, and `preference_graph` of `{chosen: {response_id}, rejected: {response_id}}`.

As in that file, a row's accuracy is the share of edges whose chosen reply scores higher, its Kendall tau-b is (C - D) /
sqrt((C + D) * (C + D + T)) over its C right, D wrong and T tied edges, and the score of all is the unweighted mean of
the three types. The authors rank the replies by Elo from comparisons; here the scores rank them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from music.evaluation.benchmarks.fields import prompt_key, read_choice, read_key, reply, row_fields, wrong
from music.evaluation.benchmarks.pairs import MANY_TURNS, turns_name
from music.evaluation.benchmarks.scored import Floats, Places, ScoredItems, WeightedMean
from music.evaluation.benchmarks.types import Item, Scores
from music.preferences.messages import read_messages, read_text
from music.preferences.sources import Row
from music.statistics import Figure

__all__ = ["IFRewardBench"]

TYPES = {"Multi_Turn": "multi-turn", "Single_Turn": "single turn", "System_Prompt": "system prompt"}


class IFRewardBench:
    """IF-RewardBench, from `data/if_rewardbench.json`."""

    name = "if_rewardbench"
    source = "thu-coai/IF-RewardBench on GitHub, `data/if_rewardbench.json`; arXiv 2603.04738"
    split = "test"

    def read(self, row: Row) -> Iterable[Item]:
        """Return the replies of a row, in the row's order."""
        fields = row_fields(row)
        history, responses = read_messages(fields, "messages"), fields.get("responses")
        if not isinstance(responses, list) or not all(isinstance(each, dict) for each in responses):
            raise wrong("responses", "a list of {response_id, response}", repr(responses)[:40])
        places = {read_key(each, "response_id"): place for place, each in enumerate(responses)}
        completions = tuple(reply(history, read_text(each, "response"), "responses") for each in responses)
        prompt = next((message.content for message in history if message.role == "user"), "")
        return [
            Item(
                id=read_key(fields, "id"),
                subset=TYPES[read_choice(fields, "instruction_type", TYPES)],
                completions=completions,
                labels=(np.nan,) * len(completions),
                prompt_id=prompt_key(prompt),
                tags={"edges": _edges(fields, places), "turns": completions[0].num_turns},
            )
        ]

    def figures(self, items: Sequence[Item], scores: Scores) -> list[Figure]:
        """Return accuracy and Kendall's tau-b: the mean of the three types, each of them, and by number of turns."""
        scored = ScoredItems(items, scores)
        types: dict[str, Places | None] = dict.fromkeys(TYPES.values()) | scored.group(lambda item: item.subset)
        turns = scored.group(lambda item: min(int(item.tags["turns"]), MANY_TURNS))
        by_turns = {turns_name(num): turns[num] for num in sorted(turns)}
        accuracies, taus = _agreement(scored)
        return [
            _mean(scored, "accuracy", accuracies, types, chance=0.5),
            _mean(scored, "Kendall tau-b", taus, types, chance=0.0),
            *_by_group(scored, accuracies, types, "accuracy", 0.5),
            *_by_group(scored, taus, types, "Kendall tau-b", 0.0),
            *_by_group(scored, accuracies, by_turns, "accuracy by turns", 0.5),
        ]


def _edges(fields: Mapping[str, Any], places: Mapping[str, int]) -> str:
    """Return the edges as `0,2 1,2`: the places of a better and a worse reply."""
    edges = fields.get("preference_graph")
    if not isinstance(edges, list) or not edges:
        raise wrong("preference_graph", "a list of {chosen, rejected}", repr(edges)[:40])
    texts = []
    for number, edge in enumerate(edges):
        ends = [edge.get(side) if isinstance(edge, dict) else None for side in ("chosen", "rejected")]
        ids = [str(end.get("response_id")) if isinstance(end, dict) else "" for end in ends]
        if not all(each in places for each in ids):
            raise wrong(f"preference_graph[{number}]", "{chosen, rejected} with ids of responses", repr(edge)[:40])
        texts.append(",".join(str(places[each]) for each in ids))
    return " ".join(texts)


def _agreement(scored: ScoredItems) -> tuple[Floats, Floats]:
    """Return each item's accuracy over its edges, and its Kendall tau-b; shape `[items]` each."""
    accuracies, taus = [], []
    for item, start in zip(scored.items, scored.starts.tolist(), strict=True):
        edges = np.array([edge.split(",") for edge in str(item.tags["edges"]).split()], dtype=np.int64)
        leads = np.sign(scored.scores[start + edges[:, 0]] - scored.scores[start + edges[:, 1]])
        right, false = (leads > 0).sum(), (leads < 0).sum()
        accuracies.append(right / len(leads))
        taus.append((right - false) / max(1.0, np.sqrt((right + false) * len(leads))))
    return np.array(accuracies), np.array(taus)


def _mean(scored: ScoredItems, name: str, values: Floats, types: Mapping[str, Places | None], chance: float) -> Figure:
    """Return the unweighted mean of the types; its name gives their number if some are missing."""
    found = [where for where in types.values() if where is not None]
    missing = [name for name, where in types.items() if where is None]
    shares = [WeightedMean(values[where], where, 1 / len(found)) for where in found]
    note = f"missing: {', '.join(missing)}" if missing else "unweighted mean of the three types"
    label = f"{name}, mean of {len(found)} of {len(types)} types" if missing else name
    return scored.figure(label, *shares, chance=chance, note=note)


def _by_group(
    scored: ScoredItems, values: Floats, groups: Mapping[str, Places | None], table: str, chance: float
) -> list[Figure]:
    return [
        scored.figure(name, table=table, note="missing: no rows")
        if where is None
        else scored.figure(name, WeightedMean(values[where], where), table=table, chance=chance)
        for name, where in groups.items()
    ]
