from pathlib import Path
from xml.etree import ElementTree

import pytest
import vl_convert

from music.statistics import mean
from music_trainers.policy.config import PolicyTrainingConfig
from music_trainers.policy.records import PolicyEvaluation, PolicyTrainingResult, find_overoptimisation
from music_trainers.policy.report import format_policy_result, policy_report

NUM = 40


def point(step, grade, *, judged=True, num_failed=0):
    """An evaluation whose grades lie around `grade`, episode by episode alike at every step."""
    grades = tuple(grade + 0.01 * (i % 5 - 2) for i in range(NUM - num_failed))
    rewards = tuple(float(step) + i % 3 for i in range(NUM - num_failed))
    return PolicyEvaluation(
        step=step,
        reward=mean(rewards),
        grade=mean(grades) if judged else None,
        kl=mean([0.1 * step, 0.1 * step + 0.01]),
        reply_tokens=16.0,
        num_failed=num_failed,
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
    found = find_overoptimisation(tuple(point(s, g) for s, g in enumerate((0.5, 0.8, 0.8, 0.75, 0.7))))
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


def test_episodes_that_failed_are_not_paired():
    curve = [point(0, 0.5), point(1, 0.9), point(2, 0.5, num_failed=1)]
    found = find_overoptimisation(tuple(curve))
    assert (found.sets_in, found.loss) == (None, None)
    assert "1 episodes failed" in format_policy_result(result(curve))


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
    assert "higher, beyond noise" in text
    assert "from step 2 on below the judge's best, step 1" in text
