"""Scores of a data set of any size, as a folder of parquet files.

The input is divided into parts. Each part becomes one file, which appears only when it is complete. So a run that is
killed resumes with the parts that are missing, and each row of the input is in one file, whichever worker wrote it.

- `manifest`: what the run scores, by which model; written first, and checked when the run resumes.
- `parts`: one part, from its rows to its file; the statistics of all files.
- `run`: `score_set`, the whole run.
- `workers`, `cluster`: who scores the parts, this process or the workers of a Ray cluster.
"""

from music.reward.scored_set.manifest import SetSettings
from music.reward.scored_set.run import SetReport, score_set
from music.reward.scored_set.workers import LocalWorkers, Workers

__all__ = ["LocalWorkers", "SetReport", "SetSettings", "Workers", "score_set"]
