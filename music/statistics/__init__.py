"""Statistics of evaluations: estimates with confidence intervals, tests, and noise in words.

- `estimates`: means, paired differences, win rates and accuracies, by resampling whole conversations.
- `composites`: figures made of several means, and rank correlation. `figures`: one number of a report.
- `two_level`: training seeds and conversations at once. `running`: means of streams of values.
- `paired_tests`: two models on the same conversations. `families`: many tests at once, and their power.
- `simultaneous`: differences whose intervals all hold at once, for claims about the best of several.
"""

from music.statistics.composites import Component, Statistic, composite, spearman, weighted_sum
from music.statistics.estimates import (
    CONFIDENCE,
    Estimate,
    accuracy,
    describe,
    mean,
    paired_difference,
    proportion,
    win_rate,
)
from music.statistics.families import PairedComparison, compare_all, holm, minimum_detectable_effect
from music.statistics.figures import Basis, Figure
from music.statistics.paired_tests import paired_p_value, swap_p_value
from music.statistics.running import MeanInterval, RunningMean
from music.statistics.simultaneous import simultaneous_differences
from music.statistics.two_level import two_level_difference, two_level_mean, two_level_p_value

__all__ = ["CONFIDENCE", "Estimate", "accuracy", "describe", "mean", "paired_difference", "proportion", "win_rate"]
__all__ += ["MeanInterval", "RunningMean"]
__all__ += ["Basis", "Component", "Figure", "Statistic", "composite", "spearman", "weighted_sum"]
__all__ += ["PairedComparison", "compare_all", "holm", "minimum_detectable_effect", "paired_p_value", "swap_p_value"]
__all__ += ["simultaneous_differences", "two_level_difference", "two_level_mean", "two_level_p_value"]
