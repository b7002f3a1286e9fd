import random

import pytest

from music_trainers.experiment import ExperimentResult
from music_trainers.experiment.analysis import analyse
from music_trainers.experiment.sandbox import References, sandbox_infos
from music_trainers.experiment.values import CHANGED_BY_READOUT, MEASURES

ARMS = {"base": {"pairs": {"base": 5}}, "music": {"pairs": {"instruction": 5}, "against": ["base"]}}


@pytest.fixture
def found(make_grid, make_result):
    """Return a maker of analyses: `values(arm, seed)` is a function of readout and item, or None for no cell."""

    def find(values, arms=ARMS, seeds=(0, 1, 2), **more):
        grid = make_grid(arms, seeds=seeds, **more)
        cells = [(name, seed, values(name, seed)) for name, seed in grid.runs()]
        results = [make_result(grid, *cell) for cell in cells if cell[-1] is not None]
        return analyse(
            grid, results, sandbox_infos(grid.sandbox), References(sandbox=None, test_seed=0, values={}), [], {}
        )

    return find


def noise(arm, seed):
    rng = random.Random(f"{arm}/{seed}")
    values = [rng.gauss(0.0, 1.0) for _ in range(40)]
    return lambda readout, index: values[index]


def better(arm, seed):
    """Every second item is right for base, nine in ten for music."""
    return lambda readout, index: 1.0 if index % (10 if arm == "music" else 2) else -1.0


def test_a_difference_that_is_there_is_found_with_its_size(found):
    result = found(better)
    compared = {(d.pair, d.measure): d for d in result.differences}
    difference = compared["music against base, read with last", "single turns"]
    assert difference.estimate.value == pytest.approx(0.4)
    assert difference.by_seed == pytest.approx((0.4, 0.4, 0.4))
    assert difference.is_clear
    assert any("single turns +0.400" in finding and "higher, beyond noise" in finding for finding in result.findings)


def test_no_gain_is_claimed_from_noise(found):
    result = found(noise)
    assert not any(d.is_clear for d in result.differences if d.arm != d.against)
    assert "music against base, read with last: within noise in all 9 measures." in result.findings


def test_every_comparison_counts_in_the_adjustment(found):
    result = found(noise)
    assert len(result.differences) == 9 + 4 + 2 * 4  # both readouts of one pair of arms; one readout for the other
    assert any(finding.startswith(f"{len(result.differences)} comparisons were made.") for finding in result.findings)
    smallest = min(result.differences, key=lambda d: d.p_value)
    assert smallest.adjusted_p_value == pytest.approx(min(1.0, smallest.p_value * len(result.differences)))


def test_a_difference_is_not_clear_where_a_seed_has_the_other_sign(found):
    difference = next(d for d in found(better).differences if d.is_clear)
    assert not difference.model_copy(update={"by_seed": (0.4, -0.1, 0.4)}).is_clear
    assert not difference.model_copy(update={"adjusted_p_value": 0.06}).is_clear


def test_arms_that_do_the_same_everywhere_have_no_smallest_difference(found):
    result = found(lambda arm, seed: lambda readout, index: index - 20.0)
    assert {d.smallest_found for d in result.differences} == {None}
    assert ExperimentResult.model_validate_json(result.model_dump_json()) == result


def test_one_seed_claims_nothing(found):
    result = found(better, seeds=(0,))
    assert not any(d.is_clear for d in result.differences)
    assert (
        "music against base, read with last: one seed, too few to distinguish a difference from noise."
        in result.findings
    )


def test_arms_are_compared_over_the_seeds_that_both_have(found):
    result = found(lambda arm, seed: None if (arm, seed) == ("base", 1) else better(arm, seed))
    assert {len(d.by_seed) for d in result.differences if d.arm != d.against} == {2}
    assert {arm.name: arm.seeds for arm in result.arms} == {"base": (0, 2), "music": (0, 1, 2)}


def test_an_arm_without_a_cell_is_left_out(found):
    result = found(lambda arm, seed: None if arm == "base" else better(arm, seed))
    assert [arm.name for arm in result.arms] == ["music"]
    assert {(d.arm, d.against) for d in result.differences} == {("music", "music")}


def test_readouts_of_one_model_are_compared_where_they_can_differ(found):
    result = found(lambda arm, seed: lambda readout, index: 1.0 if readout == "turn_mean" or index % 2 else -1.0)
    of_music = [d for d in result.differences if (d.arm, d.against) == ("music", "music")]
    assert {d.measure for d in of_music} < set(CHANGED_BY_READOUT)
    assert all(d.verdict == "higher, beyond noise" for d in of_music)


def test_scores_cover_all_measures_and_kinds_all_turns(found):
    result = found(better)
    assert {(s.readout, s.measure) for s in result.scores if s.arm == "base"} == {
        (readout, measure) for readout in ("last", "turn_mean") for measure in MEASURES
    }
    topic = [k for k in result.kinds if (k.arm, k.readout, k.kind) == ("music", "last", "topic")]
    assert [(k.turn, k.estimate.value) for k in topic] == [(1, pytest.approx(0.9)), (2, pytest.approx(0.9))]


def test_variations_are_compared_with_the_arm_that_they_vary(found):
    ablations = {"turns": {"of": "music", "axis": "T", "variations": {"2": {"num_turns": 2}, "5": {}}}}
    result = found(noise, ablations=ablations)
    assert result.ablations == {"turns": {"2": "turns: 2", "5": "music"}}
    assert ("turns: 2", "music") in {(d.arm, d.against) for d in result.differences}
