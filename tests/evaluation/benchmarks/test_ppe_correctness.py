from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from music.evaluation.benchmarks.ppe_correctness import areas_under_curve, best_of_k

ROWS = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=2, max_size=6)


@given(ROWS)
def test_the_curve_is_the_mean_over_all_choices_of_k(row):
    expected = []
    for k in range(1, len(row) + 1):
        picks = []
        for chosen in combinations(row, k):
            best = [label for score, label in chosen if score == max(score for score, _ in chosen)]
            picks.append(sum(best) / len(best))  # a tie is broken at random
        expected.append(sum(picks) / len(picks))
    scores, labels = np.array([[float(score) for score, _ in row]]), np.array([[float(label) for _, label in row]])

    assert best_of_k(scores, labels)[0] == pytest.approx(expected)


@given(ROWS)
def test_the_area_is_the_share_of_pairs_in_order(row):
    pairs = [(a, b) for a, is_right in row if is_right for b, is_also in row if not is_also]
    area = areas_under_curve(np.array([[float(s) for s, _ in row]]), np.array([[float(right) for _, right in row]]))[0]
    if not pairs:
        assert np.isnan(area)
    else:
        assert area == pytest.approx(sum((a > b) + 0.5 * (a == b) for a, b in pairs) / len(pairs))
