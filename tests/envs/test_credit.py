import math

import numpy as np
import pytest

from music.errors import InvalidInputError
from music_envs.credit import USER, returns_to_go, token_advantages, turn_advantages

NAN = math.nan


def test_without_discount_a_reply_answers_for_itself():
    assert returns_to_go([1.0, 2.0, 4.0], 0.0) == [1.0, 2.0, 4.0]


def test_with_discount_later_rewards_count():
    assert returns_to_go([1.0, 2.0, 4.0], 0.5) == [3.0, 4.0, 4.0]
    assert returns_to_go([0.0, 0.0, 4.0], 1.0) == [4.0, 4.0, 4.0]


def test_an_error_later_on_leaves_earlier_replies_alone_unless_they_answer_for_it():
    assert returns_to_go([1.0, NAN], 0.0)[0] == 1.0
    assert math.isnan(returns_to_go([1.0, NAN], 1.0)[0])


def test_replies_are_compared_within_their_group_and_turn_only():
    rewards = [[1.0, 10.0], [3.0, 30.0], [100.0, 5.0], [100.0, 5.0]]
    advantages = turn_advantages(rewards, 2, 0.0)
    expected = np.array([[-1.0, -10.0], [1.0, 10.0], [0.0, 0.0], [0.0, 0.0]])
    assert advantages == pytest.approx(expected / math.sqrt((expected**2).mean()))


def test_a_failed_turn_has_no_advantage_and_no_say_in_the_baseline():
    advantages = turn_advantages([[1.0, NAN], [2.0, 4.0], [3.0, 8.0]], 3, 0.0)
    assert advantages[0, 1] == 0.0
    assert advantages[1, 1] == -advantages[2, 1] != 0.0
    assert advantages[:, 0].sum() == pytest.approx(0.0)


def test_episodes_may_end_after_different_turns():
    advantages = turn_advantages([[1.0], [2.0, 4.0], [3.0, 6.0]], 3, 1.0)
    assert advantages.shape == (3, 2)
    assert advantages[0, 1] == 0.0


def test_equal_rewards_teach_nothing():
    assert not turn_advantages([[2.0], [2.0]], 2, 0.0).any()
    assert not turn_advantages([[NAN], [NAN]], 2, 0.0).any()


@pytest.mark.parametrize("num", [0, 3])
def test_episodes_that_form_no_groups_are_refused(num):
    with pytest.raises(InvalidInputError, match=f"groups of 2 episodes, got {num}"):
        turn_advantages([[1.0]] * num, 2, 0.0)


def test_every_token_has_the_advantage_of_its_reply_and_users_have_none():
    by_turn = np.array([[0.5, -1.0], [2.0, 0.0]])
    turns = [[0, 0, USER, 1, 1], [0, USER]]
    assert token_advantages(by_turn, turns) == [[0.5, 0.5, 0.0, -1.0, -1.0], [2.0, 0.0]]
