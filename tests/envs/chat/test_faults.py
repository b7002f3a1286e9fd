"""User endpoints that die, processes that fork: real servers, really killed."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest

from music.conversation import Conversation, StopReason
from music.llm.chat import EndpointUnavailableError
from music.llm.openai import ClientSettings, OpenAIChatModel
from music.llm.retry import RetryPolicy
from music_agents.roles.user import UserRole
from music_envs import ChatEnv, ChatVectorEnv

TWO = (Conversation().user("Name a river."), Conversation().user("Name a lake."))
IMPATIENT = ClientSettings(retry=RetryPolicy(max_tries=1))
REPLIES = ("The Rhine.", "Lake Constance.")


def open_user(url):
    return UserRole(OpenAIChatModel("good", url, IMPATIENT))


def each_on_its_seed(envs):
    """Put every environment on the seed of its own number."""
    for i in range(2):
        envs.reset(seed=0, options={"reset_mask": [j == i for j in range(2)], "seed_index": i})


def test_a_user_endpoint_killed_in_mid_episode_truncates_its_own_and_leaves_the_others_alone(killable_server):
    (dying, kill), (lasting, _) = killable_server(), killable_server()
    users = [open_user(dying), open_user(lasting)]

    async def user(view):
        return await users[view.pair](view)

    envs = ChatVectorEnv(2, user=user, seeds=TWO, num_turns=4, autoreset_mode="Disabled", reward_mode="per_turn")
    each_on_its_seed(envs)
    assert not envs.step(REPLIES)[3].any()
    kill()
    observations, rewards, terminations, truncations, infos = envs.step(REPLIES)
    assert truncations.tolist() == [True, False]
    assert not terminations.any()
    assert infos["stop_reason"].tolist() == [StopReason.ERROR, None]
    assert dying in infos["error"][0]
    assert infos["_error"].tolist() == infos["_score"][::-1].tolist() == [True, False]
    assert rewards[0] == 0.0
    assert [c.messages[-1].role for c in observations] == ["assistant", "user"]
    assert observations[0].messages[-1].content == REPLIES[0]


def test_the_one_that_lives_on_is_what_it_would_have_been_alone(killable_server):
    (dying, kill), (lasting, _) = killable_server(), killable_server()
    users = [open_user(dying), open_user(lasting)]

    async def user(view):
        return await users[view.pair](view)

    def last_of(envs, shock):
        each_on_its_seed(envs)
        envs.step(REPLIES)
        shock()
        return envs.step(REPLIES)[0][1]

    arguments = {"user": user, "seeds": TWO, "num_turns": 4}
    calm = last_of(ChatVectorEnv(2, **arguments), lambda: None)
    assert last_of(ChatVectorEnv(2, **arguments), kill) == calm


def test_no_episode_begins_with_a_dead_endpoint_and_the_error_names_it(killable_server):
    url, kill = killable_server()
    env = ChatEnv(user=open_user(url))
    env.reset(seed=0)
    kill()
    with pytest.raises(EndpointUnavailableError, match=url):
        env.reset(seed=0)


def test_an_endpoint_as_text_is_opened_used_and_closed_twice(killable_server, play):
    url, _ = killable_server()
    env, envs = ChatEnv(user=f"good@{url}"), ChatVectorEnv(2, user=f"good@{url}")
    assert play(env, seed=0) == play(ChatEnv(user=f"good@{url}"), seed=0)
    assert envs.reset(seed=0)[0][0] == env.reset(seed=0)[0]
    for closing in (env, envs):
        closing.close()
        closing.close()


ENVS = []


def play_inherited(play, index):
    return play(ENVS[index], seed=1)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this platform does not fork")
def test_a_forked_child_goes_on_with_environments_that_were_used(killable_server, play):
    url, _ = killable_server()
    ENVS[:] = [ChatEnv(), ChatEnv(user=f"good@{url}")]
    here = [play(env, seed=1) for env in ENVS]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        there = [pool.submit(play_inherited, play, index).result(timeout=60) for index in range(2)]
    assert there == here
    assert [play(env, seed=1) for env in ENVS] == here
