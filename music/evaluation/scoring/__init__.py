"""Scoring of the items of any benchmark.

- `scorer` scores items in chunks; `judged` by a judge. - `by_name` takes scores from a model, a judge or a file.
- `records` are the lines of a file of scores; `store` is the file, which a killed run continues.
"""

from music.evaluation.scoring.records import ItemScores, ScoreSet, ScoresHeader, UnscoredError
from music.evaluation.scoring.scorer import ScoredModel, load_scored_model, score_items
from music.evaluation.scoring.store import ScoreStore, read_scores

__all__ = [
    "ItemScores",
    "ScoreSet",
    "ScoreStore",
    "ScoredModel",
    "ScoresHeader",
    "UnscoredError",
    "load_scored_model",
    "read_scores",
    "score_items",
]
