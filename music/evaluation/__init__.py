"""Evaluation: how good a reward model is, and how sure that is.

- `statistics` estimates with confidence intervals: means, paired differences, win rates, accuracies; noise in words.
"""

from music.evaluation.statistics import Estimate, accuracy, describe, mean, paired_difference, win_rate

__all__ = ["Estimate", "accuracy", "describe", "mean", "paired_difference", "win_rate"]
