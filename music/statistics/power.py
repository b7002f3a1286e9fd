"""What a comparison could have found: "within noise" says little where only a large effect would have been seen."""

import math
from statistics import NormalDist

from music.statistics.estimates import CONFIDENCE, Estimate

__all__ = ["POWER", "minimum_detectable_effect"]

POWER = 0.8


def minimum_detectable_effect(difference: Estimate) -> float:
    """Return the true difference that a comparison like this one would find four times in five.

    That is `(z_0.975 + z_0.8) * SE`, 2.8 standard errors, for one comparison at the 5 % level; the standard error is
    half the interval's width over 1.96, so that whatever the interval allows for (conversations, training seeds)
    enters. Many comparisons together find less.

    Args:
        difference: Of two models or arms on the same conversations. Where nothing varied, or a single unit leaves the
            interval open, it says nothing of the spread, and the effect is infinite.
    """
    normal = NormalDist()
    z = normal.inv_cdf((1 + CONFIDENCE) / 2)
    width = difference.high - difference.low
    return (z + normal.inv_cdf(POWER)) * width / (2 * z) if width > 0 else math.inf
