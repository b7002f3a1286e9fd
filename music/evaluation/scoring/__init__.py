"""Scoring of items: one way for all benchmarks, kept row by row.

- `scorer` items to scores, in chunks. - `records` the lines of a file of scores. - `store` the file: durable,
  resumable, read again without the model.
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
