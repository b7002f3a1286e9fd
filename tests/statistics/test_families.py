import gc
import math

import numpy as np
import pytest
from scipy.stats import binom

from music.errors import InvalidInputError
from music.statistics import (
    Estimate,
    compare_all,
    holm,
    mean,
    minimum_detectable_effect,
    paired_difference,
    paired_p_value,
)


def test_holm_on_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.fixture
def frozen_heap():
    """Make a garbage collection cheap, as statsmodels runs one at every call."""
    gc.freeze()
    yield
    gc.unfreeze()


def test_holm_keeps_the_whole_family_at_five_percent(frozen_heap):
    rng = np.random.default_rng(0)
    any_found = sum(min(holm(rng.random(20).tolist())) < 0.05 for _ in range(1000))
    assert any_found <= 70
    assert sum(min(rng.random(20)) < 0.05 for _ in range(1000)) > 500  # unadjusted


def test_what_is_no_p_value_is_refused():
    with pytest.raises(InvalidInputError, match=r"within \[0, 1\], got nan"):
        holm([0.1, math.nan])


def test_the_detectable_effect_of_many_units_is_2_8_standard_errors():
    differences = np.random.default_rng(0).normal(scale=2.0, size=900)
    estimate = mean(differences)
    assert minimum_detectable_effect(estimate) == pytest.approx(2.8016 * differences.std() / 30, rel=0.06)
    assert minimum_detectable_effect(Estimate(0.0, -1.96, 1.96, 10**6)) == pytest.approx(2.8016, abs=1e-3)


@pytest.mark.parametrize("num_units", [4, 12, 50])
def test_an_effect_of_the_printed_size_is_found_four_times_in_five(num_units):
    rng, num, found = np.random.default_rng(num_units), 400, 0
    for _ in range(num):
        effect = minimum_detectable_effect(mean(rng.normal(size=num_units)))
        found += not mean(rng.normal(effect, size=num_units)).includes(0.0)
    assert binom.ppf(0.002, num, 0.8) <= found <= binom.ppf(0.998, num, 0.8)


def test_the_flips_of_twenty_conversations_find_it_as_often():
    rng, num, found = np.random.default_rng(1), 100, 0
    for seed in range(num):
        effect = minimum_detectable_effect(mean(rng.normal(size=20)))
        found += paired_p_value(rng.normal(effect, size=20), np.zeros(20), seed=seed) < 0.05
    assert 0.68 <= found / num <= 0.92


def test_where_nothing_varied_nothing_is_known_of_the_spread():
    assert minimum_detectable_effect(paired_difference([1.0, 0.0], [1.0, 0.0])) == math.inf
    assert minimum_detectable_effect(mean([0.5])) == math.inf


def test_all_pairs_of_models_are_one_family():
    rng = np.random.default_rng(0)
    good = (rng.random(200) < 0.9).astype(float)
    same, bad = good.copy(), (rng.random(200) < 0.6).astype(float)
    found = {(c.first, c.second): c for c in compare_all({"good": good, "same": same, "bad": bad})}
    assert list(found) == [("good", "same"), ("good", "bad"), ("same", "bad")]
    assert found["good", "same"].verdict == "within noise"
    assert found["good", "bad"].verdict == "higher, beyond noise"
    assert found["good", "bad"].adjusted_p_value == pytest.approx(3 * paired_p_value(good, bad))
    assert found["good", "bad"].estimate == paired_difference(good, bad)
    assert [c.verdict for c in compare_all({"bad": bad, "good": good})] == ["lower, beyond noise"]


def test_a_single_difference_that_is_clear_alone_may_be_noise_in_its_family():
    base = np.zeros(40)
    better = base + ([1.0] * 6 + [0.0] * 34)
    assert compare_all({"a": better, "b": base})[0].verdict == "higher, beyond noise"
    assert {c.verdict for c in compare_all({"a": better, "b": base, "c": base})} == {"within noise"}
