import doctest
import math
import pickle
import random

import pytest

import music.testing
from music.conversation import Conversation
from music.reward import RewardModel, UnscorableError, length_reward, load_reward, random_reward
from music.testing import SAMPLES, CheckError, check_reward


def test_rewards_of_the_toolkit_keep_the_contract(reward_checkpoint):
    check_reward(length_reward)
    check_reward(load_reward("oracle"))
    model = RewardModel.from_pretrained(reward_checkpoint(), device="cpu")
    check_reward(model)
    check_reward(model.with_prefix_cache())


def test_what_has_no_score_is_left_out():
    def short(conversations):
        if any(c.num_turns > 1 for c in conversations):
            raise UnscorableError("only one turn can be scored")
        return length_reward(conversations)

    check_reward(short)
    with pytest.raises(CheckError, match="at least two conversations that the reward can score, got 0 of 2"):
        check_reward(short, SAMPLES[-2:])


def by_position(conversations):
    return [float(place) for place, _ in enumerate(conversations)]


def normalised(conversations):
    scores = length_reward(conversations)
    return [score / (max(scores, default=0) or 1) for score in scores]


def of_tensors(conversations):
    import torch

    return torch.zeros(len(conversations))


def crashes_without_a_message(conversations):
    return [float(len(c.messages[-1].content)) for c in conversations]


BROKEN = {
    "expected the same reward for conversation 0 in a second call": random_reward(),
    "expected the same reward for conversation 1 in a batch as alone": by_position,
    "in a batch as alone": normalised,
    "expected a list of 1 rewards, got \\[\\]": lambda conversations: [],
    "expected no rewards for no conversations, got \\[0.0\\]": lambda conversations: [0.0],
    "expected rewards that are finite numbers, got nan": lambda conversations: [math.nan for _ in conversations],
    "expected rewards that are finite numbers, got True": lambda conversations: [True for _ in conversations],
    "expected rewards that are finite numbers, got None": lambda conversations: [None for _ in conversations],
    "expected a list of 1 rewards, got tensor": of_tensors,
    "or an UnscorableError, got IndexError": crashes_without_a_message,
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_reward_is_refused(message):
    with pytest.raises(CheckError, match=message):
        check_reward(BROKEN[message])


def test_rounding_is_tolerated_up_to_the_tolerance():
    rng = random.Random(0)

    def noisy(conversations):
        return [score * (1 + rng.uniform(-1, 1) * 1e-3) for score in length_reward(conversations)]

    check_reward(noisy, tolerance=1e-2)
    with pytest.raises(CheckError, match="in a second call"):
        check_reward(noisy, tolerance=1e-5)


def test_order_matters_to_no_reward():
    def by_neighbour(conversations):
        first = length_reward(conversations[:1]) if len(conversations) > 1 else [0.0]
        return [score + (first[0] if first[0] > 10 else 0.0) for score in length_reward(conversations)]

    with pytest.raises(CheckError, match="in reverse order"):
        check_reward(by_neighbour, [Conversation().user("Hi!").assistant(text) for text in ("Ho.", "Good morning!")])


def test_the_error_is_an_assertion_and_survives_pickling():
    with pytest.raises(AssertionError) as caught:
        check_reward(by_position)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_the_example_is_right():
    assert doctest.testmod(music.testing, optionflags=doctest.ELLIPSIS).attempted > 0
    assert doctest.testmod(music.testing, optionflags=doctest.ELLIPSIS).failed == 0
