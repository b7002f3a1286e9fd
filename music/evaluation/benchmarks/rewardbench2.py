"""RewardBench 2 (arXiv 2506.01937): the best of four in five subsets, and ties between equally right answers.

- Five subsets: a row counts 1 if its right completion alone scores highest, `1 / num_highest` if it shares the highest
  score, else 0.
- Ties: each question has a row with several right answers (`tied:<n>`) and a reference with one (`ref:<n>`). With
  `D = max - min` over the right answers of the tied row and `M = min(right) - max(wrong)` of either row, the score is
  `0.3 * mean[M_tied > 0] + 0.3 * mean[M_ref > 0] + 0.2 * mean[M_tied > D] + 0.2 * mean[min(M_ref, M_tied) > D] +
  0.01 * mean[tanh(min(M_ref, M_tied) / D - 1)]`, the last three over questions that have both rows.
- Two published versions of the authors' `process_single_model` (allenai/reward-bench, `rewardbench/utils.py`) disagree
  on the last term if `D` is 0. This is the one of 9 June 2025 (#244), which is still on its main branch: it divides by
  `D`, so the term is the sign of the margin, and 0 for a margin of 0. The one of 2 June 2025 (#236) averages over the
  questions whose `D` is above 0.
- The leaderboard's score is the unweighted mean of the six.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from music.evaluation.benchmarks.fields import prompt_key, read_choice, read_key, read_texts, reply, row_fields, wrong
from music.evaluation.benchmarks.scored import Floats, Places, ScoredItems, WeightedMean
from music.evaluation.benchmarks.types import Item, Scores
from music.preferences.messages import read_text
from music.preferences.sources import Row
from music.statistics import Figure

__all__ = ["RewardBench2"]

TIES = "Ties"
SUBSETS = ("Factuality", "Precise IF", "Math", "Safety", "Focus", TIES)
_TERMS = {"tied": 0.3, "ref": 0.3, "margin": 0.2, "hard margin": 0.2, "margin score": 0.01}


class RewardBench2:
    """RewardBench 2, from its six subsets."""

    name = "rewardbench2"
    source = "allenai/reward-bench-2, split `test`; arXiv 2506.01937"
    split = "test"

    def read(self, row: Row) -> Iterable[Item]:
        """Return the completions of a row, the right ones first."""
        fields = row_fields(row)
        prompt, subset = read_text(fields, "prompt"), read_choice(fields, "subset", SUBSETS)
        right, false = read_texts(fields, "chosen"), read_texts(fields, "rejected")
        if fields.get("num_correct", len(right)) != len(right):
            raise wrong("num_correct", f"{len(right)}, as `chosen` is long", repr(fields["num_correct"]))
        if subset != TIES and len(right) != 1:
            raise wrong("chosen", "one text outside of Ties", f"{len(right)}")
        id_ = read_key(fields, "id")
        kind, question = _tie(id_) if subset == TIES else ("", prompt_key(prompt))
        return [
            Item(
                id=f"{subset}/{id_}",
                subset=subset,
                completions=tuple(reply(prompt, text, "chosen") for text in (*right, *false)),
                labels=(1.0,) * len(right) + (0.0,) * len(false),
                prompt_id=question,
                tags={"kind": kind} if kind else {},
            )
        ]

    def figures(self, items: Sequence[Item], scores: Scores) -> list[Figure]:
        """Return the leaderboard's mean, the six subsets, and the terms of the score of Ties."""
        scored = ScoredItems(items, scores)
        groups = scored.group(lambda item: item.subset)
        earned = _earned(scored)
        plain = [name for name in SUBSETS if name != TIES and name in groups]
        shares = {name: [WeightedMean(earned[groups[name]], groups[name])] for name in plain}
        terms = _ties(scored, groups[TIES]) if TIES in groups else {}
        if terms.keys() == _TERMS.keys():
            shares[TIES] = [replace(share, weight=_TERMS[name]) for name, share in terms.items()]
        subsets = [_subset(scored, name, shares.get(name, [])) for name in SUBSETS]
        notes = {name: f"weight {_TERMS[name]}" for name in terms}
        if num := _num_without_spread(scored, groups.get(TIES)):
            notes["margin score"] += f"; {num} with D = 0 count by the sign of the margin (reward-bench #244)"
        of_ties = [scored.figure(name, terms[name], table="terms of Ties", note=notes[name]) for name in terms]
        return [_leaderboard(scored, shares), *subsets, *of_ties]


def _tie(id_: str) -> tuple[str, str]:
    """Return the kind of a row of Ties, `tied` or `ref`, and its question."""
    kind, colon, question = id_.partition(":")
    if not colon or kind not in ("ref", "tied"):
        raise wrong("id", "'ref:<number>' or 'tied:<number>' in Ties", repr(id_))
    return kind, f"ties/{question}"


def _earned(scored: ScoredItems) -> Floats:
    """Return what each item counts, where its first completion is the only right one; shape `[items]`."""
    highest = scored.fold(np.maximum, scored.scores)
    num_highest = scored.fold(np.add, (scored.scores == scored.spread(highest)).astype(np.float64))
    return np.where(scored.scores[scored.starts] == highest, 1 / num_highest, 0.0)


def _ties(scored: ScoredItems, at: Places) -> dict[str, WeightedMean]:
    """Return the terms of the score of Ties that have rows."""
    spread, margin = _margins(scored)
    kinds = scored.group(lambda item: str(item.tags["kind"]), among=at)
    terms = {kind: WeightedMean((margin[own] > 0).astype(np.float64), own) for kind, own in kinds.items()}
    tied, ref = _matched(scored, kinds)
    if not len(tied):
        return terms
    lesser = np.minimum(margin[tied], margin[ref])
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.nan_to_num(np.tanh(lesser / spread[tied] - 1), nan=0.0)
    values = {"margin": margin[tied] > spread[tied], "hard margin": lesser > spread[tied], "margin score": score}
    return terms | {name: WeightedMean(np.asarray(value, dtype=np.float64), tied) for name, value in values.items()}


def _num_without_spread(scored: ScoredItems, at: Places | None) -> int:
    """Return the number of questions whose right completions all score the same in the tied row."""
    if at is None:
        return 0
    tied, _ = _matched(scored, scored.group(lambda item: str(item.tags["kind"]), among=at))
    return int((_margins(scored)[0][tied] == 0).sum())


def _margins(scored: ScoredItems) -> tuple[Floats, Floats]:
    """Return each item's `D` and `M`, as the module's docstring defines them; shape `[items]` each."""
    is_right = np.fromiter(chain.from_iterable(item.labels for item in scored.items), np.float64) == 1
    lowest = scored.fold(np.minimum, np.where(is_right, scored.scores, np.inf))
    highest = scored.fold(np.maximum, np.where(is_right, scored.scores, -np.inf))
    return highest - lowest, lowest - scored.fold(np.maximum, np.where(is_right, -np.inf, scored.scores))


def _matched(scored: ScoredItems, kinds: Mapping[str, Places]) -> tuple[Places, Places]:
    """Return the tied rows with several right completions that have a reference, and those references."""
    references = {scored.items[place].prompt_id: place for place in kinds.get("ref", ())}
    several = [place for place in kinds.get("tied", ()) if sum(scored.items[place].labels) > 1]
    tied = [place for place in several if scored.items[place].prompt_id in references]
    ref = [references[scored.items[place].prompt_id] for place in tied]
    return np.array(tied, dtype=np.int64), np.array(ref, dtype=np.int64)


def _subset(scored: ScoredItems, name: str, shares: Sequence[WeightedMean]) -> Figure:
    if name == TIES:
        note = "score of up to 1.01, no accuracy" if shares else "missing: needs tied rows and their references"
        return scored.figure(name, *shares, table="subsets", note=note)
    if not shares:
        return scored.figure(name, table="subsets", note="missing: no rows")
    chance = float(np.mean([1 / len(scored.items[place].completions) for place in shares[0].where]))
    return scored.figure(name, *shares, table="subsets", chance=chance)


def _leaderboard(scored: ScoredItems, shares: Mapping[str, Sequence[WeightedMean]]) -> Figure:
    """Return the mean of the subsets; its name gives their number if some are missing."""
    missing = [name for name in SUBSETS if name not in shares]
    parts = [replace(share, weight=share.weight / len(shares)) for own in shares.values() for share in own]
    if not missing:
        return scored.figure("leaderboard's mean", *parts, note="unweighted mean of the six subsets")
    name = f"mean of {len(shares)} of {len(SUBSETS)} subsets"
    return scored.figure(name, *parts, note=f"missing: {', '.join(missing)}")
