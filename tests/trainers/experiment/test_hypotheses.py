"""Hypotheses against plain computations, and by simulation: how often they are wrong, and how often they are found."""

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from music_trainers.experiment.hypotheses import Hypothesis, HypothesisResult, Verdict, answered

ITEMS = [str(item) for item in range(60)]


def claim(**fields):
    return Hypothesis(statement="It helps.", arm="music", control="base", measure="single turns", **fields)


def drawn(rng, difference=0.0, num_seeds=10, spread=0.05):
    """Return an arm and its control, which differ by `difference` on average, in every seed and item by chance."""
    base = rng.normal(size=(num_seeds, len(ITEMS)))
    by_seed, by_item = rng.normal(scale=spread, size=(num_seeds, 1)), rng.normal(scale=0.2, size=len(ITEMS))
    return base + difference + by_seed + by_item + rng.normal(scale=0.3, size=base.shape), base


def answers(hypotheses, tables):
    """Test hypotheses by name, each on its own pair of tables."""
    by_hypothesis = dict(zip(map(id, hypotheses.values()), tables, strict=True))
    return answered(hypotheses, lambda hypothesis: (*by_hypothesis[id(hypothesis)], ITEMS))


def by_hand(values):
    """Return mean, standard error and degrees of freedom of the two-way analysis of variance."""
    num_seeds, num = values.shape
    rows, columns, mean = values.mean(axis=1), values.mean(axis=0), values.mean()
    rest = values - rows[:, None] - columns + mean
    mse = (rest**2).sum() / ((num_seeds - 1) * (num - 1))
    msa, msb = num * rows.var(ddof=1), num_seeds * columns.var(ddof=1)
    total = msa + msb - mse
    df = total**2 / (msa**2 / (num_seeds - 1) + msb**2 / (num - 1) + mse**2 / ((num_seeds - 1) * (num - 1)))
    return mean, np.sqrt(total / values.size), df


def test_each_is_tested_one_sided_and_adjusted_for_the_hypotheses_alone():
    rng = np.random.default_rng(0)
    tables = [drawn(rng, 0.2), drawn(rng, -0.1), drawn(rng, 0.05)]
    hypotheses = {"H1": claim(direction="higher"), "H2": claim(direction="lower"), "H3": claim(margin=0.1)}
    found = answers(hypotheses, tables)
    expected = []
    for (arm, control), sign, null in zip(tables, (1, -1, 1), (0.0, 0.0, -0.1), strict=True):
        value, error, df = by_hand(arm - control)
        expected.append(stats.t.sf(sign * (value - null) / error, df))
    assert [each.p_value for each in found] == pytest.approx(expected)
    order = np.argsort(expected)
    adjusted = np.maximum.accumulate(np.sort(expected) * [3, 2, 1])
    assert [found[place].adjusted_p_value for place in order] == pytest.approx(np.minimum(adjusted, 1.0))
    assert [each.by_seed for each in found] == [pytest.approx((a - b).mean(axis=1)) for a, b in tables]


@pytest.mark.parametrize(
    ("fields", "difference", "verdict"),
    [
        ({"direction": "higher"}, 0.5, Verdict.CONFIRMED),
        ({"direction": "higher"}, -0.5, Verdict.REFUTED),
        ({"direction": "higher"}, 0.0, Verdict.OPEN),
        ({"direction": "lower"}, -0.5, Verdict.CONFIRMED),
        ({"direction": "lower"}, 0.5, Verdict.REFUTED),
        ({"margin": 0.5}, 0.0, Verdict.CONFIRMED),
        ({"margin": 0.5}, -0.3, Verdict.CONFIRMED),
        ({"margin": 0.5}, -0.5, Verdict.OPEN),
        ({"margin": 0.5}, -1.0, Verdict.REFUTED),
        ({"margin": 0.01}, -0.02, Verdict.OPEN),
    ],
)
def test_the_verdict_follows_the_side_of_the_interval(fields, difference, verdict):
    arm, control = drawn(np.random.default_rng(1))
    arm -= (arm - control).mean() - difference
    (found,) = answers({"H": claim(**fields)}, [(arm, control)])
    assert found.verdict == verdict
    assert HypothesisResult.model_validate_json(found.model_dump_json()) == found


def test_true_nulls_are_seldom_confirmed_and_true_effects_are_found_as_often_as_printed(monkeypatch):
    monkeypatch.setattr("music.statistics.crossed.minimum_detectable_effect", lambda *_, **__: np.inf)  # slow, unused
    monkeypatch.setattr("gc.collect", lambda: 0)  # statsmodels collects garbage in each call
    rng, num, num_false, num_found = np.random.default_rng(0), 250, 0, 0
    three = {"H1": claim(direction="higher"), "H2": claim(direction="lower"), "H3": claim(margin=0.1)}
    error = np.sqrt(0.05**2 / 10 + 0.2**2 / len(ITEMS) + 0.3**2 / (10 * len(ITEMS)))
    for _ in range(num):
        nulls = [drawn(rng), drawn(rng), drawn(rng, -0.1)]
        num_false += any(each.verdict == Verdict.CONFIRMED for each in answers(three, nulls))
        (alone,) = answers({"H1": three["H1"]}, [drawn(rng, 2.8 * error)])
        num_found += alone.verdict == Verdict.CONFIRMED
    assert num_false <= stats.binom.ppf(0.995, num, 0.025)
    assert 0.7 <= num_found / num <= 0.88


def test_a_hypothesis_without_two_seeds_is_open_and_still_counts():
    rng = np.random.default_rng(2)
    arm, control = drawn(rng, 0.1)
    hypotheses = {"H1": claim(direction="higher"), "H2": claim(direction="higher"), "H3": claim(direction="lower")}
    found, one, none = answers(hypotheses, [(arm, control), (arm[:1] + 9, control[:1]), (arm[:0], control[:0])])
    assert found.adjusted_p_value == pytest.approx(3 * found.p_value)
    assert (one.verdict, one.p_value, len(one.by_seed)) == (Verdict.OPEN, 1.0, 1)
    assert (none.verdict, none.p_value, none.estimate, none.by_seed) == (Verdict.OPEN, 1.0, None, ())


def test_arms_without_any_difference_do_not_confirm_a_direction():
    values = np.zeros((3, len(ITEMS)))
    higher, margin = answers({"H1": claim(direction="higher"), "H2": claim(margin=0.1)}, [(values, values)] * 2)
    assert (higher.verdict, higher.smallest_found) == (Verdict.OPEN, None)
    assert margin.verdict == Verdict.CONFIRMED


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "either `direction` or `margin`, got neither"),
        ({"direction": "higher", "margin": 0.1}, "either `direction` or `margin`, got both"),
        ({"margin": 0.0}, "greater than 0"),
        ({"direction": "better"}, "'higher' or 'lower'"),
        ({"direction": "higher", "control": "music"}, "expected `control` to be another arm"),
        ({"direction": "higher", "statement": ""}, "at least 1 character"),
    ],
)
def test_a_hypothesis_makes_one_claim_about_two_arms(fields, message):
    given = {"statement": "It helps.", "arm": "music", "control": "base", "measure": "single turns"}
    with pytest.raises(ValidationError, match=message):
        Hypothesis(**given | fields)
