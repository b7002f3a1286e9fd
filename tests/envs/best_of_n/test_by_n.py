import itertools
import math

import pytest

from music.conversation import Conversation, StopReason
from music.sandbox import oracle_score as oracle
from music_envs import Decision, Rollout, Whole, run_best_of_n, score_by_n

ASKED = Conversation().user("Which tea?")
SCORES = ((0.3, 2.0, -1.0, 0.9, 0.1), (5.0, 1.0, 4.0, 3.0, 2.0))
GRADES = ((0.5, 0.1, 0.9, 1.0, 0.0), (0.0, 1.0, 0.25, 0.5, 0.75))


def rollouts(scores=SCORES):
    """Rollouts whose candidates say which they are."""
    decisions = [
        Decision(tuple(ASKED.assistant(f"{i} {j}") for j in range(len(row))), tuple(row), row.index(max(row)))
        for i, row in enumerate(scores)
    ]
    return [
        Rollout(index=i, conversation=d.conversation, decisions=(d,), stop_reason=StopReason.TURN_LIMIT)
        for i, d in enumerate(decisions)
    ]


def graded(grades):
    def judge(conversations):
        places = (map(int, c.messages[-1].content.split()) for c in conversations)
        return [grades[i][j] for i, j in places]

    return judge


def best_of(n, values):
    """The mean, over all choices of n candidates, of the value of the one with the highest score."""
    means = []
    for scores, own in zip(SCORES, values, strict=True):
        subsets = list(itertools.combinations(range(len(scores)), n))
        means.append(sum(own[max(subset, key=lambda j: scores[j])] for subset in subsets) / len(subsets))
    return sum(means) / len(means)


def test_every_n_is_the_mean_over_all_choices_of_n_candidates():
    rows = score_by_n(rollouts(), num_candidates=5, judge=graded(GRADES))
    assert [row.num_candidates for row in rows] == [1, 2, 4, 5]
    for row in rows:
        assert row.reward.value == pytest.approx(best_of(row.num_candidates, SCORES))
        assert row.grade.value == pytest.approx(best_of(row.num_candidates, GRADES))
        assert row.divergence == pytest.approx(math.log(row.num_candidates) - 1 + 1 / row.num_candidates)


def test_a_reward_that_is_the_judge_on_another_scale_has_no_gap():
    grades = [[10 + 3 * score for score in row] for row in SCORES]
    for row in score_by_n(rollouts(), num_candidates=5, judge=graded(grades)):
        assert row.gap.value == pytest.approx(0, abs=1e-9)
        assert row.reward_gain.value == pytest.approx(row.grade_gain.value)


def test_over_optimisation_shows_as_a_grade_that_falls_while_the_reward_rises():
    grades = [[-score for score in row] for row in SCORES]
    rows = score_by_n(rollouts(), num_candidates=5, judge=graded(grades))
    for fewer, more in itertools.pairwise(rows):
        assert more.reward.value > fewer.reward.value
        assert more.grade.value < fewer.grade.value
        assert more.gap.value > fewer.gap.value


def test_a_judge_who_finds_all_equal_adds_nothing_and_none_is_needed():
    same = score_by_n(rollouts(), num_candidates=5, judge=graded([[0.1] * 5] * 2))
    assert [row.grade_gain.value for row in same] == [0.0] * 4
    assert all(row.gap.value == row.reward_gain.value for row in same)
    alone = score_by_n(rollouts(), num_candidates=5)
    assert [row.reward for row in alone] == [row.reward for row in same]
    assert {row.gap for row in alone} == {None}


def test_decisions_in_which_a_candidate_failed_are_left_out():
    mixed = rollouts([SCORES[0], SCORES[1][:4]])
    assert {row.reward.num for row in score_by_n(mixed, num_candidates=5)} == {1}
    assert score_by_n(mixed, num_candidates=6) == []


async def test_the_last_n_is_what_was_chosen(seeds, config, players):
    chosen = await run_best_of_n(seeds, **players(), reward=oracle, config=config, strategy=Whole())
    rows = score_by_n(chosen, num_candidates=3, judge=oracle)
    grades = oracle([rollout.conversation for rollout in chosen])
    assert rows[-1].grade.value == rows[-1].reward.value == pytest.approx(sum(grades) / len(grades))


async def test_turns_of_one_conversation_are_no_independent_units(seeds, config, players):
    greedy = await run_best_of_n(seeds, **players(), reward=oracle, config=config)
    assert {row.reward.num for row in score_by_n(greedy, num_candidates=3)} == {len(seeds)}
