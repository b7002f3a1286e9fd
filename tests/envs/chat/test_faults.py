"""User endpoints that die, processes that fork: real servers, really killed."""

import multiprocessing

import pytest
import torch
from transformers import PreTrainedModel

from music.conversation import Conversation, StopReason
from music.errors import InvalidInputError
from music.llm.chat import EndpointUnavailableError, Sampling
from music.llm.local import LocalChatModel
from music.llm.openai import OpenAIChatModel
from music.llm.retry import RetryPolicy
from music.llm.settings import ClientSettings
from music.reward import RewardModel
from music.sandbox.artifacts import BACKBONE, REWARD_MODEL
from music_agents.roles.model_roles import UserRole
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
NO_FORK = "fork" not in multiprocessing.get_all_start_methods()


def in_a_forked_child(work, *arguments):
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply_async(work, arguments).get(timeout=60)


@pytest.fixture
def several_threads():
    """Let PyTorch compute on several threads, as it does by default."""
    num = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(num)


def play_inherited(play, index):
    return play(ENVS[index], seed=1)


@pytest.mark.skipif(NO_FORK, reason="this platform does not fork")
def test_a_forked_child_goes_on_with_environments_that_were_used(killable_server, play):
    url, _ = killable_server()
    ENVS[:] = [ChatEnv(), ChatEnv(user=f"good@{url}")]
    here = [play(env, seed=1) for env in ENVS]
    assert [in_a_forked_child(play_inherited, play, index) for index in range(2)] == here
    assert [play(env, seed=1) for env in ENVS] == here


@pytest.mark.skipif(NO_FORK, reason="this platform does not fork")
def test_a_forked_child_scores_and_replies_with_models_on_the_cpu(several_threads, play):
    local = LocalChatModel(str(BACKBONE))
    user = UserRole(local, Sampling(temperature=0.0, max_tokens=24), gates=())
    ENVS[:] = [ChatEnv(reward=str(REWARD_MODEL)), ChatEnv(user=user, seeds=TWO, num_turns=2)]
    here = [play(env, seed=1) for env in ENVS]
    assert [in_a_forked_child(play_inherited, play, index) for index in range(2)] == here


def refused_as_on_a_gpu(place):
    """Step where torch says that the model is on a GPU and the process was forked from one that had used it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
        patch.setattr(PreTrainedModel, "device", property(lambda model: torch.device("cuda")))
        before = place.snapshot()
        with pytest.raises(InvalidInputError) as caught:
            place.step("Hi." if isinstance(place, ChatEnv) else ("Hi.", "Ho."))
        return str(caught.value), place.snapshot() == before


def refused_inherited(index):
    return refused_as_on_a_gpu(ENVS[index])


@pytest.mark.skipif(NO_FORK, reason="this platform does not fork")
def test_a_forked_child_cannot_score_on_its_parents_gpu_and_says_what_to_do():
    reward = RewardModel.from_pretrained(REWARD_MODEL)
    ENVS[:] = [ChatEnv(reward=reward, num_turns=1), ChatVectorEnv(2, reward=reward, num_turns=1)]
    for index, env in enumerate(ENVS):
        env.reset(seed=0)
        message, is_unharmed = in_a_forked_child(refused_inherited, index)
        assert "forked after its parent had initialised CUDA" in message
        assert "'spawn'" in message
        assert "load the model in the child" in message
        assert is_unharmed
    assert ENVS[0].step("Hi.")[2]  # the parent goes on


def test_a_local_user_whose_messages_are_bounded_speaks_and_its_cut_messages_are_counted():
    user = UserRole(LocalChatModel(str(BACKBONE)), Sampling(max_tokens=2), gates=(), keeps_cut=True)
    env = ChatEnv(user=user, seeds=TWO, num_turns=3)
    assert "num_cut" not in env.reset(seed=0)[1]
    assert env.step("The Rhine.")[4]["num_cut"] == 1
    assert env.step("The Elbe.")[4]["num_cut"] == 2
