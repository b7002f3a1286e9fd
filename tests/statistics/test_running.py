import pytest

from music.statistics import RunningMean


def test_a_running_mean_knows_its_interval():
    mean = RunningMean()
    assert mean.mean().low is None
    for value in (1, 2, 3, 4):
        mean.add(value)
    assert mean.mean().value == 2.5
    margin = 3.18245 * (5 / 3 / 4) ** 0.5  # Student's, 3 degrees of freedom
    assert (mean.mean().low, mean.mean().high) == pytest.approx((2.5 - margin, 2.5 + margin), abs=1e-4)
    assert mean.mean().excludes(0.0)
    assert not mean.mean().excludes(1.0)


def test_a_share_has_wilsons_interval_which_stays_within_its_bounds_and_is_never_empty():
    share = RunningMean()
    assert share.share().low is None
    for value in (0, 1):
        share.add(value)
    assert (share.share().low, share.share().high) == pytest.approx((0.0945, 0.9055), abs=1e-4)
    several_turns = RunningMean()
    for index in range(100):
        several_turns.add(0.4 if index % 2 else 0.6)
    found = several_turns.share()
    assert (found.low, found.high) == pytest.approx((0.5 - 0.0197, 0.5 + 0.0197), abs=1e-4)
