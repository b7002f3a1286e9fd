"""Calibration: does `sigmoid(margin)` give the probability that the chosen side is the better one?

The model's confidence in the side that it prefers is `sigmoid(|margin|)`, at least 0.5. It is right if that is the
chosen side. A tie is half right, at a confidence of 0.5. The temperature that turns margins into log-odds is fitted by
maximum likelihood, with an interval over prompts.

The expected calibration error is a mean of absolute gaps, so chance makes it too large, and no interval is known that
holds for a calibrated model. It is therefore printed without one. The root mean squared calibration error is debiased
(Kumar, Liang and Ma 2019, "Verified uncertainty calibration"). Its interval inverts the noncentral chi-squared
distribution, as that of the RMSEA of structural models does (Browne and Cudeck 1993); it includes 0 for a calibrated
model as often as it says.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import chndtr, chndtrinc, expit

from music.evaluation.diagnostics.scored_pairs import Floats, ScoredPairs, bins_of
from music.report.points import Curve, CurvePoint
from music.statistics import CONFIDENCE, Estimate, Figure, proportion, quantile_t

__all__ = ["calibration_curve", "calibration_figures", "estimate_temperature", "fit_temperature"]

Bins = NDArray[np.int64]

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
        _expected_error(pairs, margins),
        _squared_error("root mean squared calibration error", pairs, margins),
        pairs.mean("confidence less accuracy", TABLE, confidence - right, chance=0.0),
        pairs.share("Brier score", TABLE, expit(-margins) ** 2, note="0.25 at a probability of one half throughout"),
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
            estimate=proportion(right[where], clusters=pairs.prompts[where]),
            num=len(where),
        )
        for where in places
    )
    x = "confidence, sigmoid of the margin"
    return Curve(name="reliability", table=TABLE, x=x, y="accuracy", points=points, chance=0.5, ideal_is_x=True)


def _expected_error(pairs: ScoredPairs, margins: Floats) -> Figure:
    """Return the mean gap between confidence and accuracy over bins; the note gives the part that chance explains."""
    confidence = expit(np.abs(margins))
    bins, gaps = bins_of(confidence), _right(margins) - confidence
    value = float(np.abs(np.bincount(bins, gaps)).sum()) / len(margins)
    num_prompts, num_bins = int(pairs.prompts.max()) + 1, int(bins.max()) + 1
    by_chance = _by_chance(confidence, bins)
    note = f"in {num_bins} bins; a calibrated model of such margins shows {by_chance:.3f} by chance"
    estimate = Estimate.of_unknown_spread(value, num_prompts)
    return Figure(name="expected calibration error", table=TABLE, estimate=estimate, num_items=len(margins), note=note)


def _squared_error(name: str, pairs: ScoredPairs, margins: Floats) -> Figure:
    """Return the debiased root mean square over bins of the gap between confidence and accuracy."""
    confidence = expit(np.abs(margins))
    estimate = estimate_squared_error(_right(margins) - confidence, bins_of(confidence), pairs.prompts)
    note = "over the same bins, less the part that chance explains"
    return Figure(name=name, table=TABLE, estimate=estimate, num_items=len(margins), note=note)


def estimate_squared_error(gaps: Floats, bins: Bins, prompts: Bins) -> Estimate:
    """Estimate the root of the mean over pairs of the squared mean gap in their bin, clustered by prompt.

    The sum Q of squared gaps over bins is taken for `a` times a noncentral chi-squared variable. `a` and its degrees of
    freedom give Q the mean and the variance that it has for a calibrated model (Satterthwaite 1946).

    Args:
        gaps: The outcome less the confidence; shape `[pairs]`.
        bins: The bin of each pair, counted from 0; shape `[pairs]`.
        prompts: The number of each pair's prompt, counted from 0; shape `[pairs]`.
    """
    num, num_bins, num_prompts = len(gaps), int(bins.max()) + 1, int(prompts.max()) + 1
    if num_prompts == 1:
        return Estimate.of_unknown_spread(abs(float(gaps.mean())), 1)
    sizes = np.bincount(bins)
    means, weights = np.bincount(bins, gaps) / sizes, np.sqrt(sizes / num)
    residuals, present = np.zeros((num_prompts, num_bins)), np.zeros((num_prompts, num_bins), bool)
    np.add.at(residuals, (prompts, bins), (gaps - means[bins]) / sizes[bins] * weights[bins])
    present[prompts, bins] = True
    prompts_b = present.sum(axis=0)
    residuals *= np.sqrt(prompts_b / np.maximum(prompts_b - 1, 1))
    covariance = residuals.T @ residuals  # of the weighted gaps of the bins
    total, by_chance = float(((weights * means) ** 2).sum()), float(np.trace(covariance))
    if by_chance == 0:
        return Estimate.of_unknown_spread(math.sqrt(total), num_prompts)
    scale = float((covariance**2).sum()) / by_chance
    ends = [_noncentrality(total / scale, by_chance / scale, (1 + sign * CONFIDENCE) / 2) for sign in (1, -1)]
    low, high = (math.sqrt(scale * end) for end in ends)
    return Estimate(min(max(math.sqrt(max(total - by_chance, 0.0)), low), high), low, high, num_prompts)


def _noncentrality(value: float, df: float, below: float) -> float:
    """Return the noncentrality at which a chi-squared variable is below a value with a probability; at least 0."""
    return float(chndtrinc(value, df, below)) if chndtr(value, df, 0.0) > below else 0.0


def _by_chance(confidence: Floats, bins: Bins) -> float:
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
    name = "root mean squared calibration error, with a temperature"
    order = np.random.default_rng(0).permutation(int(pairs.prompts.max()) + 1)
    half = order[pairs.prompts] % 2
    if len(set(half.tolist())) < 2:
        return pairs.nothing(name, TABLE, "there is a single prompt, and no other to fit a temperature on")
    fitted = [fit_temperature(pairs.margins[half != side]) for side in (0, 1)]
    if fitted[0] is None or fitted[1] is None:
        return pairs.nothing(name, TABLE, NO_TEMPERATURE)
    return _squared_error(name, pairs, pairs.margins / np.array(fitted)[half])


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


def estimate_temperature(margins: Floats, prompts: Bins) -> Estimate | None:
    """Fit the temperature; the interval comes from the sandwich estimator, clustered by prompt."""
    temperature = fit_temperature(margins)
    if temperature is None:
        return None
    scores = margins * expit(-margins / temperature)
    information = float((margins**2 * expit(margins / temperature) * expit(-margins / temperature)).sum())
    by_prompt = np.bincount(np.unique(prompts, return_inverse=True)[1], weights=scores)
    num = len(by_prompt)
    if num == 1:
        return Estimate.of_unknown_spread(temperature, 1)
    error = math.sqrt(num / (num - 1) * float(by_prompt @ by_prompt)) / information
    reach = quantile_t(num - 1) * error
    inverse = 1 / temperature
    high = 1 / (inverse - reach) if inverse > reach else math.inf
    return Estimate(temperature, 1 / (inverse + reach), high, num)
