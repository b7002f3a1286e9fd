import math

import numpy as np
import pytest
from scipy.stats import binom, studentized_range, t

from music.errors import InvalidInputError
from music.statistics import simultaneous_differences


def draw(rng, num, num_others):
    """Numbers of equally good models on the same conversations."""
    table = rng.normal(size=(num, 1)) + rng.normal(size=(num, 1 + num_others))
    return table[:, 0], list(table[:, 1:].T)


def test_with_one_other_the_interval_is_students():
    value, others = draw(np.random.default_rng(0), 30, 1)
    (found,) = simultaneous_differences(value, others)
    gaps = value - others[0]
    assert found.value == pytest.approx(gaps.mean())
    margin = t.ppf(0.975, 29) * gaps.std(ddof=1) / math.sqrt(30)
    assert found.high - found.value == pytest.approx(margin, rel=0.05)
    assert found.value - found.low == pytest.approx(margin, rel=0.05)


def test_the_factor_for_many_others_lies_between_one_comparison_and_all_of_them():
    value, others = draw(np.random.default_rng(1), 400, 12)
    errors = [(value - other).std(ddof=1) / 20 for other in others]
    factors = [
        (e.high - e.value) / error for e, error in zip(simultaneous_differences(value, others), errors, strict=True)
    ]
    assert max(factors) == pytest.approx(min(factors))
    assert 1.96 < factors[0] < studentized_range.ppf(0.95, 13, 1000) / math.sqrt(2)
    # Dunnett's table, two-sided 5 %, 12 comparisons, many degrees of freedom: 2.75 if they are correlated by a half
    assert factors[0] == pytest.approx(2.75, abs=0.1)


@pytest.mark.parametrize("num_others", [1, 4, 12])
def test_all_intervals_contain_the_truth_in_95_of_100_tables(num_others):
    rng, num = np.random.default_rng(num_others), 400
    tables = (draw(rng, 60, num_others) for _ in range(num))
    misses = sum(any(not each.includes(0) for each in simultaneous_differences(*table)) for table in tables)
    assert binom.ppf(0.005, num, 0.05) <= misses <= binom.ppf(0.995, num, 0.05)


def test_what_never_differs_has_no_width():
    (found,) = simultaneous_differences([1.0, 2.0, 3.0], [[0.5, 1.5, 2.5]])
    assert (found.low, found.value, found.high) == (0.5, 0.5, 0.5)


def test_one_conversation_gives_no_interval():
    (found,) = simultaneous_differences([1.0], [[0.0]])
    assert (found.low, found.high, found.num) == (-math.inf, math.inf, 1)


@pytest.mark.parametrize(("others", "message"), [([], "at least one other"), ([[1.0]], "two sides of one length")])
def test_what_cannot_be_compared_is_refused(others, message):
    with pytest.raises(InvalidInputError, match=message):
        simultaneous_differences([1.0, 2.0], others)
