"""RankJudge (arXiv 2605.21748): two conversations about one document; one of them has a single flaw in one turn.

The schema is that of layer6ai-labs/RankJudge on GitHub (`code/pairs.py`, `code/matches.py`, `code/rank_from_hf.py`) and
of Layer6/RankJudge on the hub. A row of `pairs` has `id`, `domain`, `convo_a`, `convo_b`, `better_is_a`, and `metadata`
with `bad_round_index` (from 1) and `assistant_behavior_type`, the kind of flaw. The two conversations differ from the
first turn on. The document itself (`metadata.context`) is not shown to a reward model.

Judges are asked for the verdict, the flawed turn and the kind of flaw, and are right if all three are.

- A reward gives the verdict, and the turn: that of the flawed conversation after which the reward is lowest. It gives
  no kind, so its joint figure is of the verdict and the turn.
- Rows of `matches` are the published answers of judges, with all three. They are not scored, and have figures of their
  own: verdict, turn, kind, and all three jointly, as `correct` in those rows.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from music.evaluation.benchmarks.fields import prompt_key, read_flag, read_key, read_number, row_fields, wrong
from music.evaluation.benchmarks.pairs import turns_name
from music.evaluation.benchmarks.scored import Floats, Places, ScoredItems, WeightedMean
from music.evaluation.benchmarks.types import Item, LeftOutError, Scores, Tag
from music.preferences.messages import read_messages, read_side, read_text
from music.preferences.sources import Row
from music.statistics import Figure, mean

__all__ = ["RankJudge"]

PUBLISHED = "a published answer of a judge, which is not scored"
_ANSWERS = {
    "all three": "correct",
    "verdict": "correct_verdict",
    "turn": "correct_bad_round",
    "kind": "correct_behavior_type",
}


class RankJudge:
    """RankJudge, from its pairs, and its matches beside them."""

    name = "rankjudge"
    source = "Layer6/RankJudge, `pairs` and `matches`; arXiv 2605.21748"
    split = "train"

    def read(self, row: Row) -> Iterable[Item]:
        """Return a pair: the better conversation, then the flawed one cut after each of its turns.

        Raises:
            LeftOutError: The row is a published answer of a judge.
        """
        fields = row_fields(row)
        if "judge" in fields:
            raise LeftOutError(PUBLISHED, item=_answer(row, fields))
        if (better_is_a := read_flag(fields, "better_is_a")) is None:
            raise wrong("better_is_a", "true or false", "no value")
        names = ["convo_a", "convo_b"] if better_is_a else ["convo_b", "convo_a"]
        better, flawed = (read_side(read_messages(fields, name), name) for name in names)
        metadata = _dict(fields, "metadata")
        turn = read_number(metadata, "bad_round_index", range(1, flawed.num_turns + 1))
        first = next(message.content for message in better.messages if message.role == "user")
        return [
            Item(
                id=read_key(fields, "id"),
                subset=read_text(fields, "domain"),
                completions=(better, *(flawed.prefix(end) for end in flawed.turn_ends)),
                labels=(1.0, *(np.nan,) * (flawed.num_turns - 1), 0.0),
                prompt_id=prompt_key(str(metadata.get("context") or first)),
                tags={"turn": turn, "kind": read_text(metadata, "assistant_behavior_type")},
            )
        ]

    def figures(self, items: Sequence[Item], scores: Scores) -> list[Figure]:
        """Return the verdict, the turn and both jointly, by group, and the published answers of each judge."""
        scored = ScoredItems([item for item in items if item.completions], scores)
        verdicts, turns, chances = _outcomes(scored)
        domains = scored.group(lambda item: item.subset)
        kinds = scored.group(lambda item: str(item.tags["kind"]))
        lengths = scored.group(lambda item: len(item.completions) - 1)
        by_length = {turns_name(num): lengths[num] for num in sorted(lengths)}

        def figure(name: str, values: Floats, chance: Floats, where: Places, table: str = "overall") -> Figure:
            share = WeightedMean(values[where], where)
            return scored.figure(name, share, table=table, chance=float(chance[where].mean()))

        half, everywhere = np.full(len(verdicts), 0.5), scored.places
        both = verdicts * turns
        return [
            figure("verdict", verdicts, half, everywhere),
            figure("turn", turns, chances, everywhere),
            figure("verdict and turn", both, half * chances, everywhere),
            *(figure(name, verdicts, half, where, "verdict, by turns") for name, where in by_length.items()),
            *(
                figure(name, both, half * chances, where, "verdict and turn, by turns")
                for name, where in by_length.items()
            ),
            *(figure(name, verdicts, half, where, "verdict, by domain") for name, where in domains.items()),
            *(figure(name, verdicts, half, where, "verdict, by kind of flaw") for name, where in kinds.items()),
            *_published([item for item in items if not item.completions]),
        ]


def _outcomes(scored: ScoredItems) -> tuple[Floats, Floats, Floats]:
    """Return for each item whether the verdict is right, whether the turn is, and the chance of the turn."""
    verdicts, turns, chances = [], [], []
    for item, start in zip(scored.items, scored.starts.tolist(), strict=True):
        better, *flawed = scored.scores[start : start + len(item.completions)].tolist()
        verdicts.append(float(better > flawed[-1]))
        lowest = [number for number, reward in enumerate(flawed, start=1) if reward == min(flawed)]
        turns.append((item.tags["turn"] in lowest) / len(lowest))
        chances.append(1 / len(flawed))
    return np.array(verdicts), np.array(turns), np.array(chances)


def _answer(row: Row, fields: Mapping[str, Any]) -> Item:
    """Return a published answer; its tags say what is right in it, and lack what was not asked."""
    judge, model = _dict(fields, "judge"), _dict(fields, "model")
    flags = {name: read_flag(judge, column) for name, column in _ANSWERS.items()}
    tags: dict[str, Tag] = {name: flag for name, flag in flags.items() if flag is not None}
    pair, name = read_key(fields, "id"), read_text(model, "name")
    return Item(id=f"{pair}/{name}/{row.number}", subset=name, completions=(), labels=(), prompt_id=pair, tags=tags)


def _published(answers: Sequence[Item]) -> Iterator[Figure]:
    """Yield what each judge got right, the best one first."""
    for table in _ANSWERS:
        found = []
        for model in dict.fromkeys(answer.subset for answer in answers):
            own = [answer for answer in answers if answer.subset == model]
            known = [answer for answer in own if table in answer.tags]
            hits = [float(answer.tags[table]) for answer in known]
            estimate = mean(hits, clusters=[answer.prompt_id for answer in known]) if hits else None
            note = f"{len(own) - len(known)} without an answer" if len(known) < len(own) else ""
            found.append(
                Figure(
                    name=model, table=f"published judges: {table}", estimate=estimate, num_items=len(known), note=note
                )
            )
        yield from sorted(found, key=lambda figure: -figure.estimate.value if figure.estimate else 1)


def _dict(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    if not isinstance(value, dict):
        raise wrong(name, "an object", repr(value)[:40])
    return value
