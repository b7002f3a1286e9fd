"""Scoring of items: one way for all benchmarks, kept row by row.

- `subject` what is evaluated. - `chunks` in which order items are scored. - `scorer` items to scores. - `records` the
  lines of a file of scores. - `store` the file: durable, resumable, read again without the model.
"""

from music.evaluation.scoring.records import ItemScores, ScoreSet, ScoresHeader, UnscoredError
from music.evaluation.scoring.scorer import score_items
from music.evaluation.scoring.store import ScoreStore, read_scores
from music.evaluation.scoring.subject import Subject, load_scored_model

__all__ = [
    "ItemScores",
    "ScoreSet",
    "ScoreStore",
    "ScoresHeader",
    "Subject",
    "UnscoredError",
    "load_scored_model",
    "read_scores",
    "score_items",
]
