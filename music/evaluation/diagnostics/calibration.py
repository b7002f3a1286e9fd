"""Calibration: does `sigmoid(margin)` give the probability that the chosen side is the better one?

The model's confidence in the side that it prefers is `sigmoid(|margin|)`, at least 0.5. It is right if that is the
chosen side. A tie is half right, at a confidence of 0.5. The temperature that turns margins into log-odds is fitted by
maximum likelihood, with an interval over prompts.
"""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

from music.evaluation.diagnostics.scored_pairs import Floats, ScoredPairs, bins_of
from music.report.points import Curve, CurvePoint
from music.statistics import CONFIDENCE, Component, Estimate, Figure, composite, weighted_sum

__all__ = ["calibration_curve", "calibration_figures", "estimate_temperature", "fit_temperature"]

TABLE = "calibration"
NO_TEMPERATURE = "no temperature fits: no pair is ranked wrongly, or the margins point to the wrong side"
_NUM_SIMULATED = 200
_RANGE = 1e6
"""The temperature is searched within this factor of the mean absolute margin."""


def calibration_figures(pairs: ScoredPairs) -> list[Figure]:
    """Return the errors of the probabilities, and the temperature that would fix their scale."""
    margins, right, confidence = pairs.margins, _right(pairs.margins), expit(np.abs(pairs.margins))
    nll: Floats = np.logaddexp(0, -margins)
    return [
        _calibration_error("expected calibration error", pairs, margins),
        pairs.mean("confidence less accuracy", TABLE, confidence - right, chance=0.0),
        pairs.mean("Brier score", TABLE, expit(-margins) ** 2, note="0.25 at a probability of one half throughout"),
        pairs.mean("negative log-likelihood", TABLE, nll, note=f"{math.log(2):.3f} at one half throughout"),
        _fitted_temperature(pairs),
        _with_temperature(pairs),
    ]


def calibration_curve(pairs: ScoredPairs) -> Curve:
    """Return the reliability curve: accuracy over confidence."""
    confidence, right = expit(np.abs(pairs.margins)), _right(pairs.margins)
    bins = bins_of(confidence)
    places = [np.flatnonzero(bins == number) for number in range(int(bins.max()) + 1)]
    points = tuple(
        CurvePoint(
            x=float(confidence[where].mean()),
            estimate=weighted_sum([Component(right[where], pairs.prompts[where])], [1.0]),
            num=len(where),
        )
        for where in places
    )
    x = "confidence, sigmoid of the margin"
    return Curve(name="reliability", table=TABLE, x=x, y="accuracy", points=points, chance=0.5, ideal_is_x=True)


def _calibration_error(name: str, pairs: ScoredPairs, margins: Floats) -> Figure:
    """Return the mean gap between confidence and accuracy over bins; the note gives the part that chance explains."""
    confidence = expit(np.abs(margins))
    bins, gaps = bins_of(confidence), _right(margins) - confidence
    parts = [Component(gaps * (bins == number), pairs.prompts) for number in range(int(bins.max()) + 1)]
    estimate = composite(parts, lambda means: np.abs(means).sum(axis=1))
    by_chance = _by_chance(confidence, bins)
    note = f"in {len(parts)} bins; a calibrated model of such margins shows {by_chance:.3f} by chance"
    return Figure(name=name, table=TABLE, estimate=estimate, num_items=len(margins), note=note)


def _by_chance(confidence: Floats, bins: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> float:
    """Return the mean error of a simulated model whose confidence is always its probability to be right."""
    rng = np.random.default_rng(0)
    errors = [
        np.abs(np.bincount(bins, weights=(rng.random(len(bins)) < confidence) - confidence)).sum() / len(bins)
        for _ in range(_NUM_SIMULATED)
    ]
    return float(np.mean(errors))


def _fitted_temperature(pairs: ScoredPairs) -> Figure:
    """Return the fitted temperature: above 1 the model is too sure, below 1 not sure enough."""
    estimate = estimate_temperature(pairs.margins, pairs.prompts)
    note = "above 1: too sure; below 1: not sure enough" if estimate else NO_TEMPERATURE
    num_items = len(pairs.margins) if estimate else 0
    return Figure(name="temperature", table=TABLE, estimate=estimate, num_items=num_items, note=note)


def _with_temperature(pairs: ScoredPairs) -> Figure:
    """Return the calibration error with a temperature. Each half of the prompts uses the one fitted on the other."""
    name = "expected calibration error, with a temperature"
    order = np.random.default_rng(0).permutation(int(pairs.prompts.max()) + 1)
    half = order[pairs.prompts] % 2
    if len(set(half.tolist())) < 2:
        return pairs.nothing(name, TABLE, "there is a single prompt, and no other to fit a temperature on")
    fitted = [fit_temperature(pairs.margins[half != side]) for side in (0, 1)]
    if fitted[0] is None or fitted[1] is None:
        return pairs.nothing(name, TABLE, NO_TEMPERATURE)
    return _calibration_error(name, pairs, pairs.margins / np.array(fitted)[half])


def _right(margins: Floats) -> Floats:
    """Return 1 where the model prefers the chosen side, 0.5 for a tie."""
    right: Floats = (np.sign(margins) + 1) / 2
    return right


def fit_temperature(margins: Floats) -> float | None:
    """Return the T that maximises the likelihood of the chosen sides under `sigmoid(margin / T)`.

    None if there is no maximum: no pair is ranked wrongly, so a smaller T is always better, or the margins point to the
    wrong side, so a larger T is always better.
    """
    if margins.min() >= 0 or margins.sum() <= 0:
        return None
    scale = float(np.abs(margins).mean())

    def slope(log_inverse: float) -> float:
        """Return the derivative of the log-likelihood by the inverse temperature; it decreases."""
        return float((margins * expit(-math.exp(log_inverse) * margins / scale)).sum())

    end = math.log(_RANGE)
    if slope(end) >= 0 or slope(-end) <= 0:
        return scale / _RANGE if slope(end) >= 0 else scale * _RANGE
    return scale / math.exp(brentq(slope, -end, end))


def estimate_temperature(margins: Floats, prompts: NDArray[np.int64]) -> Estimate | None:
    """Fit the temperature; the interval comes from the sandwich estimator, clustered by prompt."""
    temperature = fit_temperature(margins)
    if temperature is None:
        return None
    scores = margins * expit(-margins / temperature)
    information = float((margins**2 * expit(margins / temperature) * expit(-margins / temperature)).sum())
    by_prompt = np.bincount(prompts, weights=scores)
    error = float(np.sqrt((by_prompt**2).sum())) / information
    reach = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * error
    inverse = 1 / temperature
    high = 1 / (inverse - reach) if inverse > reach else math.inf
    return Estimate(temperature, 1 / (inverse + reach), high, len(np.unique(prompts)))
