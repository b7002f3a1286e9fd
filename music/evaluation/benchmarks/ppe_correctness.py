"""The correctness sets of PPE: rows of 32 completions of one model, each right or wrong.

The best-of-k curve is exact: the expected label of the highest-scored of k completions, without sampling.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import comb
from typing import Any

import numpy as np

from music.errors import InvalidInputError
from music.evaluation.benchmarks.fields import prompt_key, read_key, reply, wrong
from music.evaluation.benchmarks.scored import Floats, Places, ScoredItems, WeightedMean
from music.evaluation.benchmarks.types import Item
from music.preferences.messages import read_text
from music.preferences.sources import Row
from music.statistics import Figure, Statistic

__all__ = ["areas_under_curve", "best_of_k", "correctness_figures", "read_correctness"]

SETS = {"mmlupro": "MMLU-Pro", "gpqa": "GPQA", "ifeval": "IFEval", "mbppplus": "MBPP-Plus", "math": "MATH"}
"""The names of the sets, by a word in the name of their file or data set, without dashes."""

CORRECTNESS = "correctness"


def read_correctness(row: Row, fields: Mapping[str, Any]) -> Item:
    """Return the completions of a row with their labels, in the row's order.

    Raises:
        RowError: A field is missing or invalid, or the file is not named after its set.
    """
    name = "".join(char for char in row.file.lower() if char.isalnum())
    if (subset := next((subset for word, subset in SETS.items() if word in name), None)) is None:
        raise wrong("scores", f"a file named after its set ({', '.join(SETS.values())})", repr(row.file))
    labels = fields.get("scores")
    if not isinstance(labels, list) or len(labels) < 2 or not all(value in (0, 1) for value in labels):
        raise wrong("scores", "a list of true and false", repr(labels)[:40])
    prompt = read_text(fields, "prompt")
    texts = [read_text(fields, f"response_{number}") for number in range(1, len(labels) + 1)]
    return Item(
        id=f"{subset}/{read_key(fields, 'model_name')}/{read_key(fields, 'question_id')}",
        subset=subset,
        completions=tuple(reply(prompt, text, f"response_{number}") for number, text in enumerate(texts, start=1)),
        labels=tuple(map(float, labels)),
        prompt_id=prompt_key(prompt),
        tags={"kind": CORRECTNESS, "pairs": _conflict_pairs(fields, labels)},
    )


def correctness_figures(scored: ScoredItems) -> list[Figure]:
    """Return each metric's mean over the sets, then the metrics and the curve of each set."""
    groups = scored.group(lambda item: item.subset if item.tags["kind"] == CORRECTNESS else None)
    if not groups:
        return [scored.figure(CORRECTNESS, note="missing: no rows")]
    _require_one_size(scored, np.concatenate(list(groups.values())))
    sets = [_outcomes(scored, name, groups[name]) for name in SETS.values() if name in groups]
    missing = [name for name in SETS.values() if name not in groups]
    label = f"mean of {len(sets)} of {len(SETS)} sets" if missing else "mean of the five sets"
    note = f"missing: {', '.join(missing)}" if missing else ""
    accuracy, *others = _metrics(scored, sets, label, note)
    headline = accuracy.model_copy(update={"name": f"{CORRECTNESS}, {label}", "table": "overall"})
    own: list[Figure] = []
    for one in sets:
        powers = [2**power for power in range(len(one.curve).bit_length())]
        curve = [(f"{one.name}, k = {k}", one.curve[k - 1]) for k in powers]
        own += _metrics(scored, [one], one.name)
        own += [scored.figure(title, share, table="best of k", chance=one.base) for title, share in curve]
    return [headline, *others, *own]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Outcomes:
    """A model's results on one set.

    Attributes:
        name: The name of the set.
        accuracy: The accuracy on its sampled pairs.
        area: The area under the ROC curve, over the rows that hold right and wrong completions.
        curve: For each k, the expected label of the highest-scored of k completions.
        oracle: The same if the labels themselves are the scores.
        base: The share of right completions.
    """

    name: str
    accuracy: WeightedMean
    area: WeightedMean
    curve: tuple[WeightedMean, ...]
    oracle: tuple[WeightedMean, ...]
    base: float


def _outcomes(scored: ScoredItems, name: str, at: Places) -> _Outcomes:
    scores, labels = scored.matrix(at), np.array([scored.items[place].labels for place in at])
    areas = areas_under_curve(scores, labels)
    is_mixed = ~np.isnan(areas)
    if not is_mixed.any():
        raise InvalidInputError(f"{name}: expected rows with right and wrong completions, got none")
    return _Outcomes(
        name=name,
        accuracy=_pair_accuracy(scored, scores, at),
        area=WeightedMean(areas[is_mixed], at[is_mixed]),
        curve=tuple(WeightedMean(values, at) for values in best_of_k(scores, labels).T),
        oracle=tuple(WeightedMean(values, at) for values in best_of_k(labels, labels).T),
        base=float(labels.mean()),
    )


def _metrics(scored: ScoredItems, sets: Sequence[_Outcomes], name: str, note: str = "") -> list[Figure]:
    """Return the five metrics, each the mean over the sets."""
    base = float(np.mean([one.base for one in sets]))
    curves = [share for one in sets for share in one.curve]
    both = [share for one in sets for share in (*one.curve, *one.oracle)]

    def figure(
        metric: str, shares: Sequence[WeightedMean], chance: float | None, of_set: Statistic | None = None
    ) -> Figure:
        statistic = of_set and partial(_mean_over_sets, of_set, len(sets))
        title = f"{name}: {metric}"
        return scored.figure(title, *shares, statistic=statistic, table=CORRECTNESS, chance=chance, note=note)

    return [
        figure("accuracy", _averaged([one.accuracy for one in sets]), 0.5),
        figure("area under the curve", _averaged([one.area for one in sets]), 0.5),
        figure("end", _averaged([one.curve[-1] for one in sets]), base),
        figure("max", curves, base, lambda curve: np.asarray(curve.max(axis=1))),
        figure("loss", both, None, _squared_distance),
    ]


def _averaged(shares: Sequence[WeightedMean]) -> list[WeightedMean]:
    return [replace(share, weight=1 / len(shares)) for share in shares]


def _mean_over_sets(of_set: Statistic, num_sets: int, means: Floats) -> Floats:
    """Return the mean of a statistic of each set's own columns; shape `[resamples]`."""
    return np.asarray(np.mean([of_set(own) for own in np.split(means, num_sets, axis=1)], axis=0))


def _squared_distance(curve_and_oracle: Floats) -> Floats:
    curve, oracle = np.split(curve_and_oracle, 2, axis=1)
    return np.asarray(((curve - oracle) ** 2).mean(axis=1))


def _conflict_pairs(fields: Mapping[str, Any], labels: Sequence[int]) -> str:
    """Return the sampled pairs, the right completion first, as `3,7 1,9`; places from 0."""
    pairs = fields.get("sampled_conflict_pairs")
    if not isinstance(pairs, list) or not pairs:
        raise wrong("sampled_conflict_pairs", "a list of pairs of places", repr(pairs)[:40])
    texts = []
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not all(0 <= place < len(labels) for place in pair):
            raise wrong("sampled_conflict_pairs", f"pairs of places below {len(labels)}", repr(pair))
        right, false = sorted(pair, key=lambda place: -labels[place])
        if labels[right] == labels[false]:
            raise wrong("sampled_conflict_pairs", "a right and a wrong completion", repr(pair))
        texts.append(f"{right},{false}")
    return " ".join(texts)


def _pair_accuracy(scored: ScoredItems, scores: Floats, at: Places) -> WeightedMean:
    """Return the share of sampled pairs that are ranked correctly; a tie is a miss."""
    rows = [
        (row, *map(int, pair.split(",")))
        for row, place in enumerate(at)
        for pair in str(scored.items[place].tags["pairs"]).split()
    ]
    row, right, false = np.array(rows).T
    return WeightedMean((scores[row, right] > scores[row, false]).astype(np.float64), at[row])


def _require_one_size(scored: ScoredItems, at: Places) -> None:
    if len(sizes := {len(scored.items[place].completions) for place in at}) > 1:
        raise InvalidInputError(
            f"expected rows with one number of completions, got {', '.join(map(str, sorted(sizes)))}; "
            "are files of several makes mixed?"
        )


def best_of_k(scores: Floats, labels: Floats) -> Floats:
    """Return the expected label of the highest-scored of k completions, drawn at random without replacement.

    Ties are broken at random. The completion of rank r among K, counted from the lowest, is the highest of k with
    probability `C(r - 1, k - 1) / C(K, k)`.

    Args:
        scores: The scores; shape `[rows, K]`.
        labels: How good each completion is; shape `[rows, K]`.

    Returns:
        The expected labels for k = 1 to K; shape `[rows, K]`.
    """
    size = scores.shape[1]
    same = (scores[:, :, None] == scores[:, None, :]).astype(np.float64)
    shared = (same @ labels[:, :, None])[:, :, 0] / same.sum(axis=2)
    ascending = np.take_along_axis(shared, np.argsort(scores, axis=1, kind="stable"), axis=1)
    picked = [[comb(rank, k - 1) / comb(size, k) for rank in range(size)] for k in range(1, size + 1)]
    return np.asarray(ascending @ np.array(picked).T)


def areas_under_curve(scores: Floats, labels: Floats) -> Floats:
    """Return the area under each row's ROC curve; ties count half.

    Args:
        scores: The scores; shape `[rows, K]`.
        labels: 1 for right and 0 for wrong; shape `[rows, K]`.

    Returns:
        The areas; shape `[rows]`. NaN where all completions are right, or all are wrong.
    """
    higher = (np.sign(scores[:, :, None] - scores[:, None, :]) + 1) / 2
    won = np.einsum("nij,ni,nj->n", higher, labels, 1 - labels)
    with np.errstate(invalid="ignore"):
        return np.asarray(won / (labels.sum(axis=1) * (1 - labels).sum(axis=1)))
