import pytest

from music.conversation import Conversation, StopReason
from music.errors import InvalidInputError
from music_envs import ChatEnv


def rewards(steps):
    return [step[1] for step in steps[1:]]


@pytest.fixture
def modes(play):
    """Play the same episode in each of the modes; return its steps by mode."""

    def run(reward="oracle", seed=0, user="sandbox", **arguments):
        return {
            mode: play(ChatEnv(reward=reward, reward_mode=mode, user=user, **arguments), seed=seed)
            for mode in ("terminal", "per_turn", "difference")
        }

    return run


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("num_turns", [1, 4])
def test_differences_sum_up_to_the_terminal_reward(modes, seed, num_turns):
    steps = modes(seed=seed, num_turns=num_turns)
    assert sum(rewards(steps["difference"])) == pytest.approx(rewards(steps["terminal"])[-1])
    assert rewards(steps["terminal"])[:-1] == [0.0] * (num_turns - 1)
    assert rewards(steps["per_turn"])[-1] == rewards(steps["terminal"])[-1]
    assert len({str([step[0] for step in episode]) for episode in steps.values()}) == 1


def test_each_mode_pays_what_it_says(modes, toy_reward):
    steps = modes(reward=toy_reward)
    assert {mode: rewards(episode) for mode, episode in steps.items()} == {
        "terminal": [0.0, 0.0, 6.0],
        "per_turn": [1.0, 3.0, 6.0],
        "difference": [1.0, 2.0, 3.0],
    }
    scores = {mode: [step[4].get("score") for step in episode[1:]] for mode, episode in steps.items()}
    assert scores == {
        "terminal": [None, None, 6.0],
        "per_turn": [1.0, 3.0, 6.0],
        "difference": [1.0, 3.0, 6.0],
    }


def test_replies_of_the_seed_are_part_of_the_first_difference(play, toy_reward):
    seeds = (Conversation().user("How many?").assistant("40."),)
    assert rewards(play(ChatEnv(reward=toy_reward, reward_mode="difference", seeds=seeds), seed=0)) == [5.0, 2.0, 3.0]


def test_what_the_user_says_last_is_not_scored(play):
    seen = []

    def reward(conversations):
        seen.extend(conversations)
        return [1.0] * len(conversations)

    play(ChatEnv(reward=reward, reward_mode="per_turn"), seed=0)
    assert [conversation.messages[-1].content for conversation in seen] == [f"Reply number {n}." for n in (1, 2, 3)]


def test_a_user_who_is_done_ends_all_modes_with_the_same_score(modes, toy_reward):
    steps = modes(reward=toy_reward, num_turns=5, is_done=lambda conversation: conversation.num_turns == 2)
    assert all(episode[-1][4]["stop_reason"] is StopReason.USER_DONE for episode in steps.values())
    assert [sum(rewards(steps[mode])) for mode in ("terminal", "difference")] == [3.0, 3.0]
    assert rewards(steps["per_turn"]) == [1.0, 3.0]


def test_a_step_that_an_error_cuts_short_pays_nothing_and_has_no_score(scripted, play, toy_reward):
    for mode, paid in (("terminal", [0.0, 0.0]), ("per_turn", [1.0, 0.0]), ("difference", [1.0, 0.0])):
        env = ChatEnv(user=scripted(fails={2}), reward=toy_reward, reward_mode=mode, num_turns=4)
        episode = play(env, seed=0)
        assert rewards(episode) == paid
        assert episode[-1][3]
        assert "score" not in episode[-1][4]


def test_a_reward_that_raises_is_raised_and_leaves_the_episode_where_it_stood(play, toy_reward):
    outages = [ConnectionError("the reward server is down")]

    def reward(conversations):
        if outages:
            raise outages.pop()
        return toy_reward(conversations)

    env = ChatEnv(reward=reward, reward_mode="difference")
    env.reset(seed=0)
    with pytest.raises(ConnectionError, match="reward server is down"):
        env.step("Reply number 1.")
    tried = [env.step(f"Reply number {number}.") for number in (1, 2, 3)]
    assert tried == play(ChatEnv(reward=toy_reward, reward_mode="difference"), seed=0)[1:]


def test_another_mode_is_refused_and_the_modes_are_named():
    with pytest.raises(InvalidInputError, match="terminal, per_turn, difference, got 'dense'"):
        ChatEnv(reward_mode="dense")
    assert ChatEnv().reward_mode == "terminal"
