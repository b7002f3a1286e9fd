import numpy as np
import pytest

from music.evaluation.diagnostics.disagreement import disagree
from music.evaluation.diagnostics.distribution import distribution_figures, reward_histogram
from music.statistics import paired_p_value


@pytest.fixture
def make_models(pairs_with):
    """Return a maker of models from their margins, by name."""
    return lambda **margins: {name: pairs_with([(m, 0.0) for m in each]) for name, each in margins.items()}


def test_models_that_agree_and_one_that_does_not(make_models, by_name):
    right, mixed = [1.0] * 40, [1.0] * 20 + [-1.0] * 20
    found = disagree(make_models(a=right, b=[2 * m for m in right[:39]] + [0.1], c=mixed))
    figures = by_name(found.figures)
    assert (found.models, found.num_pairs) == (("a", "b", "c"), 40)
    assert figures["mean accuracy"].estimate.value == pytest.approx(5 / 6)
    assert figures["all rank alike"].estimate.value == 0.5
    assert figures["where all rank alike"].estimate.value == 1.0
    assert figures["a and b: ranked alike"].estimate.value == 1.0
    assert figures["a and c: ranked alike"].estimate.value == 0.5
    verdicts = {(c.first, c.second): c.verdict for c in found.comparisons}
    assert verdicts["a", "b"] == "within noise"
    assert verdicts["a", "c"] == verdicts["b", "c"] == "higher, beyond noise"
    comparison = found.comparisons[1]
    assert comparison.adjusted_p_value == pytest.approx(3 * paired_p_value([1.0] * 40, [1.0] * 20 + [0.0] * 20))


def test_an_ensemble_of_noisy_models_is_better_than_each_and_disagreement_tells_errors(make_models, by_name):
    rng = np.random.default_rng(0)
    truth = rng.normal(0.5, 1.0, size=1500)
    found = disagree(make_models(**{name: truth + rng.normal(scale=1.5, size=1500) for name in "abc"}))
    figures = by_name(found.figures)
    assert figures["ensemble less mean"].note == "higher, beyond noise"
    assert figures["where all rank alike"].estimate.low > figures["where they disagree"].estimate.high
    assert figures["mean accuracy"].estimate.low < figures["mean accuracy"].estimate.value
    (curve,) = found.curves
    assert sum(point.num for point in curve.points) == 1500


def test_models_are_weighed_alike_whatever_their_scale(make_models, by_name):
    small, large = [0.01] * 30 + [-0.01] * 10, [-100.0] * 10 + [100.0] * 30
    figures = by_name(disagree(make_models(small=small, too=small, large=large)).figures)
    assert figures["accuracy of the ensemble"].estimate.value == 0.75  # two outvote one
    assert figures["where they disagree"].estimate.value == 0.5


def test_pairs_of_one_prompt_are_one_unit(pairs_with):
    first, second = [(1.0, 0.0)] * 30, [(0.0, 1.0)] * 30
    alone = disagree({"a": pairs_with(first), "b": pairs_with(second)}).comparisons[0]
    few = disagree(
        {n: pairs_with(r, [i % 3 for i in range(30)]) for n, r in (("a", first), ("b", second))}
    ).comparisons[0]
    assert alone.p_value < 1e-6
    assert few.p_value == pytest.approx(0.25)
    assert few.verdict == "within noise"


def test_the_distribution_by_hand(pairs_with, by_name):
    pairs = pairs_with([(3.0, 1.0), (3.0, 1.0), (1.0, 1.0), (1.0, 3.0)])
    values = {name: figure.estimate.value for name, figure in by_name(distribution_figures(pairs)).items()}
    assert values == pytest.approx(
        {
            "reward of the chosen side": 2.0,
            "reward of the rejected side": 1.5,
            "standard deviation": np.std([3, 1, 3, 1, 1, 1, 1, 3]),
            "margin, in standard deviations": 0.5 / np.std([3, 1, 3, 1, 1, 1, 1, 3]),
            "ties": 0.25,
        }
    )
    assert "2 distinct rewards" in by_name(distribution_figures(pairs))["ties"].note
    histogram = reward_histogram(pairs)
    assert (histogram.edges[0], histogram.edges[-1]) == (1.0, 3.0)
    assert (histogram.counts["chosen"][0], histogram.counts["chosen"][-1]) == (2, 2)
    assert sum(histogram.counts["rejected"]) == 4
