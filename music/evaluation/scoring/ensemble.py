"""Judge ensembles: `combine` makes one set of scores from those of several judges.

- The mean of the judges' scores, which must be on one scale.
- The majority: of each two completions, the one that more judges prefer wins. A completion's score is its share of wins
  over the others, with ties counted half. It suits judges of any kinds, because only the order of scores counts.

A judge that lacks a judgement on an item prefers no completion there. If all judges lack one, so does the ensemble.
"""

from collections.abc import Sequence

import numpy as np

from music.errors import InvalidInputError
from music.evaluation.benchmarks.scored import Floats
from music.evaluation.benchmarks.types import ItemSet
from music.evaluation.scoring.records import ItemScores, ScoreSet, ScoresHeader
from music.judges.settings import Ensemble, read_judge

__all__ = ["combine", "require_one_scale"]


def require_one_scale(ensemble: Ensemble) -> None:
    """Refuse the mean of scores on different scales.

    Raises:
        InvalidInputError: Some judges rate, and others compare.
    """
    kinds = {found[0] for member in ensemble.members if (found := read_judge(member))}
    if ensemble.kind == "mean" and len(kinds) > 1:
        raise InvalidInputError(
            "mean: expected judges that all rate (judge:) or all compare (judge-pairs:), as their scales differ; use "
            "majority: instead"
        )


def combine(name: str, ensemble: Ensemble, items: ItemSet, sets: Sequence[ScoreSet]) -> ScoreSet:
    """Return the ensemble's scores of all items.

    Args:
        name: The ensemble's name, as the user wrote it.
        ensemble: How to combine the scores.
        items: The items that were judged.
        sets: The scores of each judge.

    Example:
        >>> import numpy as np
        >>> majority(np.array([[3.0, 1.0], [0.2, 0.9], [2.0, 1.5]]))
        array([1., 0.])
    """
    filled = [each.with_ties() for each in sets]
    rows: dict[str, ItemScores] = {}
    for item in items.items:
        own = [each.rows[item.id] for each in sets]
        if all(row.problem for row in own):
            rows[item.id] = own[0].model_copy(update={"partial": ()})
            continue
        scores = np.array([each.rows[item.id].scores for each in filled], dtype=np.float64)
        combined = scores.mean(axis=0) if ensemble.kind == "mean" else majority(scores)
        rows[item.id] = ItemScores(id=item.id, scores=tuple(combined.tolist()))
    header = ScoresHeader.of(items, _Scorer(name, _describe(sets)))
    return ScoreSet(header=header, rows=rows, seconds=sum(each.seconds for each in sets))


def majority(scores: Floats) -> Floats:
    """Return each completion's share of the others that most judges rank below it; `[judges, n]` to `[n]`."""
    preferences = np.sign(scores[:, :, None] - scores[:, None, :]).sum(axis=0)
    wins = (1 + np.sign(preferences)) / 2
    num_others = max(1, scores.shape[1] - 1)
    return np.asarray((wins.sum(axis=1) - 0.5) / num_others)  # without the tie with itself


class _Scorer:
    """An ensemble, as a file of scores identifies it."""

    fingerprint = None

    def __init__(self, name: str, description: str) -> None:
        self.name, self.description = name, description


def _describe(sets: Sequence[ScoreSet]) -> str:
    """Return the judges with their missing judgements."""
    missing = ((each.header.model, sum(row.problem is not None for row in each.rows.values())) for each in sets)
    return "; ".join(f"{model} ({num} missing)" if num else model for model, num in missing)
