from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import vl_convert
from scipy.stats import binom

from music.statistics import Estimate, mean
from music_trainers.policy.config import PolicyTrainingConfig
from music_trainers.policy.records import (
    PolicyEvaluation,
    PolicyTrainingResult,
    find_overoptimisation,
    format_errors,
)
from music_trainers.policy.report import format_evaluation, format_policy_result, policy_report

NUM = 40


def point(step, grade, *, judged=True, num_failed=0):
    """An evaluation whose grades lie around `grade`, episode by episode alike at every step."""
    grades = tuple(grade + 0.01 * (i % 5 - 2) for i in range(num_failed, NUM))
    rewards = tuple(float(step) + i % 3 for i in range(num_failed, NUM))
    return PolicyEvaluation(
        step=step,
        reward=mean(rewards),
        grade=mean(grades) if judged else None,
        kl=mean([0.1 * step, 0.1 * step + 0.01]),
        reply_tokens=16.0,
        num_failed=num_failed,
        errors=dict.fromkeys(range(num_failed), "gone"),
        rewards=rewards,
        grades=grades if judged else None,
    )


def result(curve):
    return PolicyTrainingResult(
        config=PolicyTrainingConfig(out=Path("out"), num_steps=curve[-1].step),
        curve=tuple(curve),
        greedy_before=curve[0].model_copy(update={"kl": None}),
        greedy_after=curve[-1].model_copy(update={"kl": None}),
        overoptimisation=find_overoptimisation(tuple(curve)),
        seconds=1.0,
    )


def test_overoptimisation_sets_in_where_grades_fall_for_good():
    found = find_overoptimisation([point(s, g) for s, g in enumerate((0.5, 0.8, 0.8, 0.75, 0.7))])
    assert (found.best_step, found.sets_in) == (1, 3)
    assert found.loss.value == pytest.approx(-0.1)


def test_a_dip_that_mends_is_none():
    found = find_overoptimisation(tuple(point(s, g) for s, g in enumerate((0.5, 0.8, 0.6, 0.8))))
    assert (found.best_step, found.sets_in) == (1, None)


def test_a_curve_that_rises_to_its_end_has_none():
    found = find_overoptimisation(tuple(point(s, g) for s, g in enumerate((0.5, 0.6, 0.7))))
    assert (found.best_step, found.sets_in, found.loss) == (2, None, None)


def test_without_a_judge_nothing_is_said():
    curve = [point(s, 0.5, judged=False) for s in (0, 1)]
    assert find_overoptimisation(tuple(curve)) is None
    assert "over-optimisation" not in format_policy_result(result(curve))
    report = policy_report(result(curve))
    assert {row["panel"] for row in report.parts[0].rows} == {"learned reward", "KL to the start, nats a reply"}
    assert "judge" not in report.parts[0].caption
    assert "grade" not in report.parts[1].columns
    assert "There is no judge" in report.intro


def test_episodes_are_paired_that_no_evaluation_lost():
    curve = [point(0, 0.5), point(1, 0.9), point(2, 0.5, num_failed=1)]
    found = find_overoptimisation(curve)
    assert (found.sets_in, found.num_episodes) == (2, NUM - 1)
    assert found.loss.value == pytest.approx(-0.4)
    assert curve[2].gain_over(curve[0]).num == NUM - 1
    assert "1 of 40 episodes failed (1 x gone)" in format_policy_result(result(curve))


def test_without_shared_episodes_the_verdict_is_that_there_is_none():
    curve = [point(0, 0.9), point(1, 0.5, num_failed=NUM - 1)]
    assert find_overoptimisation(curve) is None
    assert curve[1].gain_over(curve[0]) is None
    text = format_policy_result(result(curve))
    assert "over-optimisation: not tested, as fewer than two episodes" in text
    assert "judge's gain" not in text


def test_an_interval_from_one_conversation_is_not_shown():
    text = format_evaluation(point(1, 0.5, num_failed=NUM - 1))
    assert "judge 0.520 (n = 1: no interval)" in text
    assert "inf" not in text


def test_a_result_with_one_conversation_can_be_read_again():
    made = result([point(0, 0.9), point(1, 0.5, num_failed=NUM - 1)])
    assert PolicyTrainingResult.model_validate_json(made.model_dump_json()) == made


def test_many_errors_are_told_in_a_line():
    told = format_errors([*["connection\nrefused"] * 5, "b", "b", "c", "d"])
    assert told == "5 x connection refused; 2 x b; 1 x c; 1 other errors"


def test_cut_and_blank_replies_are_reported():
    made = result([point(0, 0.5), point(1, 0.6).model_copy(update={"cut": 0.125, "blank": 0.02})])
    assert "12.5% of replies cut, 2.0% of replies blank" in format_policy_result(made)
    (row,) = (row for row in policy_report(made).parts[1].spread() if row[:2] == ["sampled", 1])
    assert row[-3:] == [12.5, 2.0, 0]


def test_the_report_gives_the_errors():
    report = policy_report(result([point(0, 0.5), point(1, 0.6, num_failed=3)]))
    assert ["sampled", 1, "gone", 3] in list(report.parts[2].spread())


def test_the_report_has_a_panel_each_and_marks_where_it_went_wrong():
    report = policy_report(result([point(s, g) for s, g in enumerate((0.5, 0.8, 0.7))]))
    drawn = vl_convert.vegalite_to_svg(report.parts[0].chart)
    texts = [element.text for element in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert {"judge's grade", "learned reward", "KL to the start, nats a reply"} <= set(texts)
    assert texts.count("over-optimised") == texts.count("best") == 3
    assert texts.count("start, greedy") == 1
    assert [len(rows) for rows in report.parts[1].groups.values()] == [3, 2]


def test_the_words_say_what_was_gained_and_lost():
    text = format_policy_result(result([point(s, g) for s, g in enumerate((0.5, 0.8, 0.7))]))
    assert "sampled, judge's gain: +0.200" in text
    assert "the noise is unknown" in text  # the same gain in every episode
    assert "from step 2 on below the judge's best, step 1" in text


def noisy_curve(rng, means, num=200):
    """A curve whose grades are noisy, and correlated between evaluations, as their users are the same."""
    users = rng.normal(scale=0.1, size=num)
    curve = []
    for step, level in enumerate(means):
        grades = np.clip(level + users + rng.normal(scale=0.12, size=num), 0, 1)
        blank = {"reward": Estimate(0.0, 0.0, 0.0, num), "grade": Estimate(float(grades.mean()), 0.0, 1.0, num)}
        fixed = {"kl": None, "reply_tokens": 1.0, "num_failed": 0, "errors": {}}
        values = {"step": step, "rewards": grades.tolist(), "grades": grades.tolist()}
        curve.append(PolicyEvaluation.model_construct(**blank, **fixed, **values))
    return curve


@pytest.mark.parametrize("means", [(0.78,) * 5, (0.78,) * 13, (0.5, 0.7, *(0.78,) * 5)], ids=["5", "13", "rising"])
def test_curves_that_do_not_fall_are_called_over_optimised_one_time_in_twenty_at_most(means):
    rng, num = np.random.default_rng(0), 400
    alarms = sum(find_overoptimisation(noisy_curve(rng, means)).sets_in is not None for _ in range(num))
    assert alarms <= binom.ppf(0.99, num, 0.05)


def test_a_fall_as_in_the_documented_runs_is_found():
    rng, means = (
        np.random.default_rng(1),
        (0.52, 0.7, 0.77, 0.79, 0.79, 0.785, 0.78, 0.77, 0.76, 0.75, 0.74, 0.73, 0.726),
    )
    found = [find_overoptimisation(noisy_curve(rng, means)) for _ in range(50)]
    assert all(each.sets_in is not None and each.sets_in > each.best_step for each in found)
    assert all(each.loss.high < 0 for each in found)
