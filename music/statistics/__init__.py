"""Statistics of evaluations: estimates with confidence intervals, tests, and noise in words.

- `estimates`: means and paired differences. `proportions`: win rates, accuracies and other shares.
- `crossed`: training seeds and conversations at once. `running`: means of streams of values.
- `composites`: figures made of several means, and rank correlation. `figures`: one number of a report.
- `paired_tests`: two models on the same conversations. `families`: many tests at once, and their power.
- `simultaneous`: differences whose intervals all hold at once, for claims about the best of several.
"""

from music.statistics.composites import Component, Statistic, composite, spearman, weighted_sum
from music.statistics.crossed import CrossedDifference, crossed_difference, crossed_mean, crossed_proportion
from music.statistics.estimates import CONFIDENCE, Estimate, describe, mean, paired_difference, quantile_t
from music.statistics.families import PairedComparison, compare_all, holm, minimum_detectable_effect
from music.statistics.figures import Basis, Figure
from music.statistics.paired_tests import paired_p_value, swap_p_value
from music.statistics.proportions import accuracy, proportion, win_rate
from music.statistics.running import MeanInterval, RunningMean
from music.statistics.simultaneous import simultaneous_differences

__all__ = ["CONFIDENCE", "Estimate", "accuracy", "describe", "mean", "paired_difference", "proportion", "win_rate"]
__all__ += ["MeanInterval", "RunningMean", "quantile_t"]
__all__ += ["Basis", "Component", "Figure", "Statistic", "composite", "spearman", "weighted_sum"]
__all__ += ["PairedComparison", "compare_all", "holm", "minimum_detectable_effect", "paired_p_value", "swap_p_value"]
__all__ += ["CrossedDifference", "crossed_difference", "crossed_mean", "crossed_proportion", "simultaneous_differences"]
