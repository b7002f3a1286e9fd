"""From hand-made cells to figures, against plain computations."""

import random

import numpy as np
import pytest
from scipy import stats

from music.statistics import crossed_difference, crossed_proportion
from music_trainers.experiment import ExperimentResult
from music_trainers.experiment.hypotheses import Verdict

ARMS = {"base": {"pairs": {"base": 5}}, "music": {"pairs": {"instruction": 5}, "against": ["base"]}}
PROMPTS = [f"prompt {item // 2}" for item in range(40)]
CLAIM = {"statement": "It helps.", "arm": "music", "control": "base", "measure": "single turns"}
HYPOTHESES = {
    "H1": {**CLAIM, "direction": "higher"},
    "H2": {**CLAIM, "measure": "relevance, early", "readout": "turn_mean", "margin": 0.1},
}


def noise(arm, seed, measure, readout):
    """Values that no arm has more of."""
    rng = random.Random(f"{arm}/{seed}/{measure}/{readout}")
    values = [rng.gauss(0.0, 1.0) for _ in PROMPTS]
    return values if measure.startswith("Best") else [float(value > 0) for value in values]


def better(arm, seed, measure, readout):
    """Every second item is right for base, and most are for music."""
    rng = random.Random(f"{arm}/{seed}/{measure}")
    return [float(rng.random() < (0.9 if arm == "music" else 0.5)) for _ in PROMPTS]


def table(values, arm, measure, readout, seeds=(0, 1, 2)):
    return np.array([values(arm, seed, measure, readout) for seed in seeds])


def test_hypotheses_are_tested_and_holm_adjusts_for_them_alone(analysed):
    result = analysed(ARMS, better, hypotheses=HYPOTHESES)
    first, second = result.hypotheses
    gains = table(better, "music", "single turns", "last") - table(better, "base", "single turns", "last")
    assert first.estimate.value == pytest.approx(gains.mean())
    assert first.by_seed == pytest.approx(gains.mean(axis=1))
    assert first.verdict == second.verdict == Verdict.CONFIRMED
    expected = crossed_difference(
        table(better, "music", "relevance, early", "turn_mean"),
        table(better, "base", "relevance, early", "turn_mean"),
        clusters=PROMPTS,
        null=-0.1,
        alternative="greater",
    )
    assert second.p_value == pytest.approx(expected.p_value)
    assert max(first.adjusted_p_value, second.adjusted_p_value) <= 2 * max(first.p_value, second.p_value)
    assert result.findings[0].startswith("H1 is confirmed (It helps): the adjusted p is below 0.025. music - base in")


def test_what_a_hypothesis_tests_is_not_exploratory_too(analysed):
    asked = {(d.measure, d.readout) for d in analysed(ARMS, noise).differences}
    assert asked == {
        *(
            (name, r)
            for name in ("relevance, early", "Best-of-8")
            for r in ("last", "turn_mean", "turn_min", "end_weighted")
        ),
        ("single turns", "last"),
    }
    left = {(d.measure, d.readout) for d in analysed(ARMS, noise, hypotheses=HYPOTHESES).differences}
    assert asked - left == {("single turns", "last"), ("relevance, early", "turn_mean")}


def test_an_exploratory_difference_is_paired_by_seed_and_prompt(analysed):
    (found,) = (d for d in analysed(ARMS, noise).differences if (d.measure, d.readout) == ("Best-of-8", "turn_min"))
    gains = table(noise, "music", "Best-of-8", "turn_min") - table(noise, "base", "Best-of-8", "turn_min")
    by_prompt = gains.reshape(3, 20, 2).mean(axis=2)  # the analysis of variance of prompts' means
    rest = by_prompt - by_prompt.mean(axis=1, keepdims=True) - by_prompt.mean(axis=0) + by_prompt.mean()
    mse = (rest**2).sum() / (2 * 19)
    msa = max(mse, 20 * by_prompt.mean(axis=1).var(ddof=1))
    msb = max(mse, 3 * by_prompt.mean(axis=0).var(ddof=1))
    error = np.sqrt((msa + msb - mse) / 60)
    df = (msa + msb - mse) ** 2 / (msa**2 / 2 + msb**2 / 19 + mse**2 / 38)
    assert found.estimate.value == pytest.approx(gains.mean())
    assert found.estimate.high - found.estimate.value == pytest.approx(stats.t.ppf(0.975, df) * error)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(gains.mean()) / error, df))


def test_exploratory_comparisons_are_counted_with_what_chance_would_give(analysed):
    result = analysed(ARMS, noise, hypotheses=HYPOTHESES)
    others = [each.p_value for each in result.readouts if each.p_value is not None]
    p_values = [d.p_value for d in result.differences] + others
    (sentence,) = (finding for finding in result.findings if "exploratory" in finding)
    assert sentence.startswith(f"7 differences of arms and {len(others)} of readouts are exploratory")
    assert f"{sum(p < 0.05 for p in p_values)} of {len(p_values)} have p < 0.05." in sentence
    assert f"about {0.05 * len(p_values):.0f} would" in sentence


def test_a_look_tests_no_hypothesis_and_says_which_seeds_were_looked_at(analysed):
    result = analysed(ARMS, better, hypotheses=HYPOTHESES, seeds=(7, 8), is_look=True)
    assert result.hypotheses == []
    assert "seeds 7 8 were used to choose" in result.findings[0]
    assert ("single turns", "last") in {(d.measure, d.readout) for d in result.differences}


def test_arms_are_compared_over_the_seeds_that_both_have(analysed):
    def values(arm, seed, measure, readout):
        return None if (arm, seed) == ("base", 1) else better(arm, seed, measure, readout)

    result = analysed(ARMS, values, hypotheses=HYPOTHESES)
    assert {len(each.by_seed) for each in [*result.differences, *result.hypotheses]} == {2}
    assert {arm.name: arm.seeds for arm in result.arms} == {"base": (0, 2), "music": (0, 1, 2)}
    assert "1 of 6 cells failed and are left out." in result.findings


def test_a_hypothesis_about_an_arm_without_a_cell_is_open(analysed):
    result = analysed(
        ARMS, lambda arm, *rest: None if arm == "base" else better(arm, *rest), hypotheses={"H1": HYPOTHESES["H1"]}
    )
    assert [arm.name for arm in result.arms] == ["music"]
    assert result.differences == []
    assert "H1 is open (It helps): 0 seeds with both arms, at least 2 are needed." in result.findings


def test_one_seed_tests_nothing(analysed):
    result = analysed(ARMS, better, seeds=(0,), hypotheses=HYPOTHESES)
    assert {each.verdict for each in result.hypotheses} == {Verdict.OPEN}


def test_scores_are_shares_or_grades_and_shown_once_if_the_readout_does_not_matter(analysed):
    result = analysed(ARMS, noise)
    scores = {(s.arm, s.measure, s.readout): s for s in result.scores}
    assert [readout for arm, measure, readout in scores if (arm, measure) == ("base", "single turns")] == ["last"]
    share = scores["base", "relevance, early", "turn_min"]
    assert share.estimate == crossed_proportion(table(noise, "base", "relevance, early", "turn_min"), clusters=PROMPTS)
    grade = scores["base", "Best-of-8", "last"]
    assert grade.by_seed == pytest.approx(table(noise, "base", "Best-of-8", "last").mean(axis=1))
    assert result.references["random"]["Best-of-8"].value == pytest.approx(0.5)


def test_variations_are_compared_with_the_arm_that_they_vary(analysed):
    ablations = {"turns": {"of": "music", "axis": "T", "variations": {"2": {"num_turns": 2}, "5": {}}}}
    result = analysed(ARMS, noise, ablations=ablations)
    assert result.ablations == {"turns": {"2": "turns: 2", "5": "music"}}
    assert {(d.arm, d.against) for d in result.differences} == {("music", "base"), ("turns: 2", "music")}


def test_a_result_is_read_back_as_it_was(analysed):
    result = analysed(ARMS, lambda *_: [1.0] * 40, hypotheses=HYPOTHESES)  # without any interval
    assert ExperimentResult.model_validate_json(result.model_dump_json()) == result
