"""PPE (arXiv 2410.14872): human preferences of Chatbot Arena, and sets of 32 right or wrong completions.

- Human preference: accuracy over the votes that name a winner, also by kind of prompt and by whether the longer side
  won. Ties are left out when rows are read. The metrics that rank the 20 models are not computed.
- Correctness, for each of five sets and as their mean: accuracy over the rows' `sampled_conflict_pairs`, the area under
  each row's ROC curve, and the best-of-k curve, computed exactly instead of by sampling. `end` is its value at k = K,
  `max` its maximum over k, and `loss` the mean over k of the squared distance to an oracle's curve.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from music.evaluation.benchmarks.fields import prompt_key, read_flag, read_key, reply, row_fields, wrong
from music.evaluation.benchmarks.pairs import pair_item
from music.evaluation.benchmarks.ppe_correctness import correctness_figures, read_correctness
from music.evaluation.benchmarks.scored import ScoredItems
from music.evaluation.benchmarks.types import Item, LeftOutError, Scores, Tag
from music.preferences.messages import read_text
from music.preferences.sources import Row
from music.statistics import Figure

__all__ = ["PPE"]

HUMAN = "human preference"
_SLICES = ("easy_prompt", "hard_prompt", "if_prompt", "math_prompt", "is_code", "is_refusal")
_LONGER_WON: Mapping[Tag | None, str] = {True: "humans chose the longer side", False: "humans chose the shorter side"}


class PPE:
    """Preference Proxy Evaluations: human preferences and correctness."""

    name = "ppe"
    source = "lmarena-ai/PPE-Human-Preference-V1 (split `test`), lmarena-ai/PPE-*-Best-of-K; arXiv 2410.14872"
    split = "train"

    def read(self, row: Row) -> Iterable[Item]:
        """Return a vote as a pair, or all completions of a row of a correctness set.

        Raises:
            LeftOutError: The vote is a tie.
        """
        fields = row_fields(row)
        return [_vote(fields) if "winner" in fields else read_correctness(row, fields)]

    def figures(self, items: Sequence[Item], scores: Scores) -> list[Figure]:
        """Return the figures of human preferences and of correctness, then human preferences by group."""
        scored = ScoredItems(items, scores)
        votes = scored.group(lambda item: item.tags["kind"]).get(HUMAN)
        slices = [figure for name in _SLICES for figure in scored.accuracies("kinds of prompts", partial(_slice, name))]
        length = scored.accuracies("length", lambda item: _LONGER_WON.get(item.tags.get("longer_won")))
        if votes is not None and not length:
            length = [scored.figure("longer side", table="length", note="missing: no vote has `longer_won`")]
        return [scored.accuracy(HUMAN, votes), *correctness_figures(scored), *slices, *length]


def _vote(fields: Mapping[str, Any]) -> Item:
    winner = read_text(fields, "winner")
    if winner.startswith("tie"):
        raise LeftOutError("a tie among humans")
    if winner not in ("model_a", "model_b"):
        raise wrong("winner", "'model_a', 'model_b' or a tie", repr(winner))
    prompt = read_text(fields, "prompt")
    sides = [reply(prompt, read_text(fields, name), name) for name in ("response_1", "response_2")]
    if winner == "model_b":
        sides.reverse()
    flags = {name: read_flag(fields, name) for name in (*_SLICES, "longer_won")}
    tags: dict[str, Tag] = {"kind": HUMAN, **{name: flag for name, flag in flags.items() if flag is not None}}
    return pair_item(read_key(fields, "question_id"), HUMAN, *sides, prompt_id=prompt_key(prompt), tags=tags)


def _slice(name: str, item: Item) -> str | None:
    return name if item.tags.get(name) else None
