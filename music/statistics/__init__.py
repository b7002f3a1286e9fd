"""Statistics of evaluations: estimates with confidence intervals, tests, and noise in words.

- `estimates` means, paired differences, win rates and accuracies, by resampling whole conversations. - `composite`
  figures made of several means. - `correlation` rank correlation. - `two_level` training seeds and conversations at
  once.
- `paired` the test of two models on the same conversations, `swaps` the same for figures of several means.
  - `multiplicity` many tests at once. - `power` what a comparison could have found. - `families` every pair of several
  models, all three together.
"""

from music.statistics.correlation import spearman
from music.statistics.estimates import (
    Estimate,
    accuracy,
    describe,
    mean,
    paired_difference,
    proportion,
    win_rate,
)
from music.statistics.families import PairedComparison, compare_all
from music.statistics.multiplicity import holm
from music.statistics.paired import paired_p_value
from music.statistics.power import minimum_detectable_effect

__all__ = ["Estimate", "accuracy", "describe", "mean", "paired_difference", "proportion", "spearman", "win_rate"]
__all__ += ["PairedComparison", "compare_all", "holm", "minimum_detectable_effect", "paired_p_value"]
