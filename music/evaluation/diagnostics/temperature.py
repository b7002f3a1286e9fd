"""The temperature that makes margins log-odds: fitted by likelihood, with an interval over prompts."""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from music.evaluation.diagnostics.scored_pairs import Floats
from music.statistics import CONFIDENCE, Estimate

__all__ = ["estimate_temperature", "fit_temperature", "sigmoid"]

_STEPS = 80
_RANGE = 1e6
"""The temperature is looked for within this factor of the margins' own scale."""


def sigmoid(values: Floats) -> Floats:
    """Return the logistic function of each value, without overflow."""
    result: Floats = np.exp(-np.logaddexp(0, -values))
    return result


def fit_temperature(margins: Floats) -> float | None:
    """Return the T at which `sigmoid(margin / T)` gives the chosen sides the highest likelihood.

    None if there is none: no pair is ranked wrongly, so that a smaller T is ever better, or the margins point to the
    wrong side so much that no T is better than to know nothing.
    """
    scale = float(np.abs(margins).mean())
    if margins.min() >= 0 or margins.sum() <= 0:
        return None
    low, high = 1 / _RANGE, _RANGE  # of the inverse temperature, in units of the scale
    for _ in range(_STEPS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _slope(margins / scale, middle) > 0 else (low, middle)
    return scale / low


def estimate_temperature(margins: Floats, prompts: NDArray[np.int64]) -> Estimate | None:
    """Fit the temperature, with the interval of a maximum likelihood estimate over whole prompts (the sandwich)."""
    temperature = fit_temperature(margins)
    if temperature is None:
        return None
    scores = margins * sigmoid(-margins / temperature)
    information = float((margins**2 * sigmoid(margins / temperature) * sigmoid(-margins / temperature)).sum())
    by_prompt = np.bincount(prompts, weights=scores)
    error = float(np.sqrt((by_prompt**2).sum())) / information
    reach = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * error
    inverse = 1 / temperature
    high = 1 / (inverse - reach) if inverse > reach else math.inf
    return Estimate(temperature, 1 / (inverse + reach), high, len(np.unique(prompts)))


def _slope(margins: Floats, inverse: float) -> float:
    """Return how the log-likelihood changes with the inverse temperature; it falls throughout."""
    return float((margins * sigmoid(-inverse * margins)).sum())
