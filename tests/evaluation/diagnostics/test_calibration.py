import math

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binom

from music.evaluation.diagnostics.calibration import (
    calibration_curve,
    calibration_figures,
    estimate_squared_error,
    estimate_temperature,
    fit_temperature,
)
from music.evaluation.diagnostics.scored_pairs import bins_of


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def simulated(num, temperature, seed=0):
    """Margins of a model whose log-odds are right but for a factor: seen from the chosen side."""
    rng = np.random.default_rng(seed)
    sizes = np.abs(rng.normal(scale=2.0, size=num))
    right = rng.random(num) < 1 / (1 + np.exp(-sizes))
    return np.where(right, sizes, -sizes) * temperature


def test_scores_by_hand(pairs_with, by_name):
    margins = [2.0, 1.0, -1.0, 0.0]
    figures = by_name(calibration_figures(pairs_with([(m, 0.0) for m in margins])))
    probabilities = [sigmoid(m) for m in margins]
    confidences = [sigmoid(abs(m)) for m in margins]
    right = [1, 1, 0, 0.5]
    assert figures["Brier score"].estimate.value == pytest.approx(np.mean([(1 - p) ** 2 for p in probabilities]))
    assert figures["negative log-likelihood"].estimate.value == pytest.approx(-np.mean(np.log(probabilities)))
    gap = np.mean(confidences) - np.mean(right)
    assert figures["confidence less accuracy"].estimate.value == pytest.approx(gap)
    assert figures["expected calibration error"].estimate.value == pytest.approx(abs(gap))  # four pairs are one bin
    assert "in 1 bins" in figures["expected calibration error"].note


def test_the_error_of_two_bins_by_hand(pairs_with, by_name):
    margins = [0.5] * 7 + [-0.5] * 3 + [3.0] * 6 + [-3.0] * 4
    figure = by_name(calibration_figures(pairs_with([(m, 0.0) for m in margins])))["expected calibration error"]
    by_hand = 0.5 * abs(0.7 - sigmoid(0.5)) + 0.5 * abs(0.6 - sigmoid(3.0))
    assert figure.estimate.value == pytest.approx(by_hand)


def test_a_calibrated_model_shows_the_error_of_chance_alone(pairs_with, by_name):
    figures = by_name(calibration_figures(pairs_with([(m, 0.0) for m in simulated(3000, 1.0)])))
    error = figures["expected calibration error"]
    assert error.estimate.value < 0.03
    assert not error.estimate.has_interval
    assert figures["root mean squared calibration error"].estimate.includes(0.0)
    assert float(error.note.split("shows ")[1].split()[0]) == pytest.approx(0.02, abs=0.01)
    assert figures["confidence less accuracy"].note == "within noise"
    assert figures["temperature"].estimate.includes(1.0)


@pytest.mark.parametrize("temperature", [0.3, 4.0])
def test_a_wrong_scale_is_found_and_mended(pairs_with, by_name, temperature):
    figures = by_name(calibration_figures(pairs_with([(m, 0.0) for m in simulated(3000, temperature)])))
    assert figures["temperature"].estimate.includes(temperature)
    error = figures["root mean squared calibration error"].estimate
    assert 0.05 < error.low < error.value < error.high
    assert error.value >= figures["expected calibration error"].estimate.value  # Jensen's inequality
    assert figures["root mean squared calibration error, with a temperature"].estimate.includes(0.0)
    sure = "higher" if temperature > 1 else "lower"
    assert figures["confidence less accuracy"].note == f"{sure}, beyond noise"


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_interval_of_the_calibration_error_covers_it(temperature):
    rng, num, covered, plain = np.random.default_rng(0), 150, 0, 0
    for _ in range(num):
        margins = simulated(100, temperature, rng)
        confidence, truth = expit(np.abs(margins)), expit(np.abs(margins) / temperature)
        bins = bins_of(confidence)
        shares = np.bincount(bins) / 100
        error = math.sqrt((shares * (np.bincount(bins, truth - confidence) / 100 / shares) ** 2).sum())
        estimate = estimate_squared_error((margins > 0) - confidence, bins, np.arange(100))
        covered += estimate.includes(error)
        plain += estimate.value / num - error / num
    assert binom.ppf(0.005, num, 0.95) <= covered  # percentiles of a bootstrap of absolute gaps: 0 to 61 of 100
    assert plain < 0.05


def test_copies_of_a_prompt_do_not_narrow_the_interval_of_the_calibration_error():
    margins = simulated(200, 2.0)
    gaps, bins = (margins > 0) - expit(np.abs(margins)), bins_of(expit(np.abs(margins)))
    alone = estimate_squared_error(gaps, bins, np.arange(200))
    copied = estimate_squared_error(np.repeat(gaps, 9), np.repeat(bins, 9), np.repeat(np.arange(200), 9))
    assert (copied.value, copied.low, copied.high) == pytest.approx((alone.value, alone.low, alone.high))


def test_the_temperature_has_the_highest_likelihood():
    margins = simulated(500, 1.7)
    fitted = fit_temperature(margins)
    grid = np.exp(np.linspace(math.log(fitted / 2), math.log(fitted * 2), 2001))
    losses = [np.logaddexp(0, -margins / t).mean() for t in grid]
    assert fitted == pytest.approx(grid[int(np.argmin(losses))], rel=2e-3)
    assert fit_temperature(margins * 1e-9) == pytest.approx(fitted * 1e-9)


def test_the_interval_of_the_temperature_covers_it_and_heeds_prompts():
    covered = sum(estimate_temperature(simulated(300, 2.0, seed), np.arange(300)).includes(2.0) for seed in range(100))
    assert 88 <= covered <= 100
    margins = simulated(300, 2.0)
    alone = estimate_temperature(margins, np.arange(300))
    copied = estimate_temperature(np.repeat(margins, 9), np.repeat(np.arange(300), 9))
    assert (copied.value, copied.low, copied.high) == pytest.approx((alone.value, alone.low, alone.high))


@pytest.mark.parametrize("margins", [[1.0, 2.0, 0.0], [-1.0, -2.0, 1.0], [0.0, 0.0]])
def test_where_no_temperature_fits_it_is_said(pairs_with, by_name, margins):
    assert fit_temperature(np.array(margins)) is None
    figure = by_name(calibration_figures(pairs_with([(m, 0.0) for m in margins])))["temperature"]
    assert figure.estimate is None
    assert figure.note.startswith("no temperature fits")


def test_huge_margins_do_not_overflow(pairs_with, by_name):
    with np.errstate(over="raise"):
        figures = by_name(calibration_figures(pairs_with([(1e4, 0.0), (0.0, 1e4), (3e4, 0.0)])))
    assert figures["negative log-likelihood"].estimate.value == pytest.approx(1e4 / 3)


def test_the_reliability_curve(pairs_with):
    margins = [0.5] * 7 + [-0.5] * 3 + [3.0] * 6 + [-3.0] * 4
    curve = calibration_curve(pairs_with([(m, 0.0) for m in margins]))
    assert [(point.x, point.estimate.value, point.num) for point in curve.points] == [
        (pytest.approx(sigmoid(0.5)), pytest.approx(0.7), 10),
        (pytest.approx(sigmoid(3.0)), pytest.approx(0.6), 10),
    ]
    assert curve.ideal_is_x
