"""Many episodes of a policy, side by side."""

import pytest

from music.conversation import StopReason
from music.errors import InvalidInputError
from music.llm.chat import EndpointUnavailableError
from music.llm.openai import OpenAIChatModel
from music.llm.retry import RetryPolicy
from music.llm.settings import ClientSettings
from music.pairs import Usage
from music.reward.tokens.contract import UnscorableError
from music_agents.failures import RoleFailedError
from music_agents.personas import Persona
from music_agents.roles import RoleTurn
from music_envs import ChatEnv, ChatWorld, ModelPolicy, compare_grades, mean_grade, play_episodes

SEEDS = [3, 0, 7, 7]


def numbered(conversations):
    return [f"Reply {conversation.num_turns} to {conversation.messages[-1].content}" for conversation in conversations]


def play_alone(env, seed):
    """Return the last conversation and info, and all rewards, of one environment's episode."""
    conversation, info = env.reset(seed=seed)
    rewards, over = [], False
    while not over:
        conversation, reward, terminated, truncated, info = env.step(*numbered([conversation]))
        rewards.append(reward)
        over = terminated or truncated
    return conversation, tuple(rewards), info["stop_reason"], info.get("score"), info.get("error", "")


@pytest.mark.parametrize("reward_mode", ["terminal", "per_turn", "difference"])
def test_episodes_are_those_of_single_environments(reward_mode):
    arguments = {
        "num_turns": 4,
        "reward_mode": reward_mode,
        "personas": (Persona.of("A sailor."), Persona.of("A baker.")),
        "is_done": lambda conversation: len(conversation.messages[-1].content) % 3 == 0,
    }
    played = play_episodes(ChatWorld(**arguments), numbered, SEEDS)
    assert [each.seed for each in played] == SEEDS
    for each in played:
        came = each.episode.conversation, each.rewards, each.episode.stop_reason, each.episode.score
        assert (*came, each.episode.error) == play_alone(ChatEnv(**arguments), each.seed)
        assert each.total == sum(each.rewards)
    assert len({each.episode.turn for each in played}) > 1
    assert play_episodes(ChatWorld(), numbered, []) == []


def test_the_policy_and_the_reward_are_asked_once_a_turn_for_all_that_go_on():
    asked, scored = [], []

    def policy(conversations):
        asked.append(len(conversations))
        return numbered(conversations)

    def reward(conversations):
        scored.append(len(conversations))
        return [1.0] * len(conversations)

    async def user(view):
        if view.turn == 2 and view.run_seed % 2:
            raise RoleFailedError("lost interest")
        return RoleTurn(text=f"Go on, {view.turn}.", usage=Usage())

    played = play_episodes(ChatWorld(user=user, reward=reward, reward_mode="per_turn"), policy, range(8))
    failed = sum(each.episode.is_truncated for each in played)
    assert 0 < failed < 8
    assert asked == [8, 8, 8 - failed]
    assert scored == [8, 8 - failed, 8 - failed]


def test_a_user_that_fails_cuts_its_own_episode_short():
    async def user(view):
        if view.turn == 1 and view.run_seed % 2:
            raise RoleFailedError("lost interest")
        return RoleTurn(text=f"Go on, {view.run_seed}.", usage=Usage())

    played = play_episodes(ChatWorld(user=user, reward="length"), numbered, range(8))
    for each in played:
        assert (each.total is None) == (each.episode.error == "lost interest") == each.episode.is_truncated
        assert each.episode.conversation == play_alone(ChatEnv(user=user, reward="length"), each.seed)[0]
    assert {each.total is None for each in played} == {True, False}


BAD_REPLIES = [("", "blank"), (" \n", "blank"), (None, "NoneType"), ("x" * 100_001, "at most 100,000")]


@pytest.mark.parametrize(("reply", "said"), BAD_REPLIES)
def test_a_policy_without_a_reply_cuts_that_episode_short(reply, said):
    def policy(conversations):
        return [reply if c.num_turns == 1 and i == 1 else "Well." for i, c in enumerate(conversations)]

    played = play_episodes(ChatWorld(), policy, SEEDS)
    assert [each.total is None for each in played] == [False, True, False, False]
    assert said in played[1].episode.error
    assert (played[1].rewards, played[1].episode.turn) == ((0.0, 0.0), 1)


def test_a_reply_that_cannot_be_scored_cuts_its_episode_short():
    def reward(conversations):
        if any("unscorable" in c.messages[-1].content for c in conversations):
            raise UnscorableError("too long")
        return [1.0] * len(conversations)

    def policy(conversations):
        return ["unscorable" if c.num_turns == 1 and i == 2 else "Well." for i, c in enumerate(conversations)]

    played = play_episodes(ChatWorld(reward=reward, reward_mode="difference"), policy, SEEDS)
    assert [each.total for each in played] == [1.0, 1.0, None, 1.0]
    assert [each.rewards for each in played][1:3] == [(1.0, 0.0, 0.0), (1.0, 0.0)]
    assert (played[2].episode.error, played[2].episode.stop_reason) == ("too long", StopReason.ERROR)


def test_a_server_killed_in_mid_play_cuts_short_what_goes_on_and_the_error_names_it(killable_server):
    url, kill = killable_server()
    model = ModelPolicy(OpenAIChatModel("good", url, ClientSettings(retry=RetryPolicy(max_tries=1))))

    def policy(conversations):
        if conversations[0].num_turns == 1:
            kill()
        return model(conversations)

    def is_done(conversation):
        return len(conversation.messages[-1].content) % 2 == 0

    played = play_episodes(ChatWorld(is_done=is_done), policy, range(8))
    alive = [each for each in played if each.episode.stop_reason is StopReason.USER_DONE]
    assert 0 < len(alive) < 8
    assert all(url in each.episode.error for each in played if each not in alive)
    assert all(each.total == each.episode.score for each in alive)


def test_another_number_of_replies_is_refused():
    for replies in (["Well."] * 3, "Well"):
        with pytest.raises(InvalidInputError, match="expected 4 replies of the policy"):
            play_episodes(ChatWorld(), lambda conversations, replies=replies: replies, SEEDS)


def test_without_a_first_message_nothing_is_played(scripted):
    with pytest.raises(EndpointUnavailableError):
        play_episodes(ChatWorld(user=scripted(fails=frozenset(range(100)))), numbered, SEEDS)


def test_totals_are_what_comparisons_take():
    good, fair = (play_episodes(ChatWorld(), ModelPolicy(f"sandbox:{skill}"), range(24)) for skill in ("good", "fair"))
    totals = [each.total for each in good], [each.total for each in fair]
    assert mean_grade(totals[0]).value > mean_grade(totals[1]).value
    assert compare_grades(*totals).num_excluded == 0
