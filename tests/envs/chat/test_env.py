import asyncio
import multiprocessing
import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.utils.env_checker import check_env

from music.conversation import Conversation, StopReason
from music.errors import InvalidInputError
from music.llm.chat import EndpointUnavailableError
from music.pairs import Usage
from music_agents.failures import RoleFailedError
from music_agents.personas import Persona
from music_agents.roles import RoleTurn
from music_envs import ChatEnv, ChatVectorEnv


def test_gymnasiums_own_checker_passes_without_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make("music/Chat-v0", render_mode="ansi")
        check_env(env.unwrapped)
        env.close()


@pytest.mark.parametrize("num_turns", [1, 2])
def test_the_checker_passes_for_short_episodes_and_own_seeds(num_turns, seeds):
    check_env(gymnasium.make("music/Chat-v0", seeds=seeds, num_turns=num_turns).unwrapped)


def test_one_string_imports_registers_and_makes():
    code = (
        "import gymnasium; env = gymnasium.make('music_envs:music/Chat-v0'); obs, _ = env.reset(seed=0); "
        "assert obs.next_role == 'assistant'; assert obs in env.observation_space"
    )
    paths = [path for path in sys.path if path]
    subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}; {code}"], check=True, timeout=60)


def test_the_observation_always_ends_with_the_user_until_the_end(play, seeds):
    for index in range(len(seeds)):
        env = ChatEnv(seeds=seeds, num_turns=3)
        first, *steps = play(env, seed=0, options={"seed_index": index})
        assert first[1]["seed_index"] == index
        assert first[0].messages[: len(seeds[index].messages)] == seeds[index].messages
        assert [s[0].messages[-1].role for s in (first, *steps)] == ["user", "user", "user", "assistant"]
        assert [s[4]["turn"] for s in steps] == [1, 2, 3]


def test_same_seed_same_episode_another_seed_another(play, seeds):
    assert play(ChatEnv(seeds=seeds), seed=5) == play(ChatEnv(seeds=seeds), seed=5)
    assert len({str(play(ChatEnv(), seed=seed)) for seed in range(4)}) > 1


def test_episodes_after_the_first_follow_from_the_first_seed(play, seeds):
    def two_episodes():
        env = ChatEnv(seeds=seeds)
        return play(env, seed=1), play(env)

    first, second = two_episodes()
    assert (first, second) == two_episodes()
    assert first != second


def test_the_reward_is_paid_once_at_the_end_for_the_whole_conversation(toy_reward, play):
    *middle, last = play(ChatEnv(reward=toy_reward, num_turns=3), seed=0)[1:]
    observation, reward, terminated, truncated, info = last
    assert [step[1:4] for step in middle] == [(0.0, False, False)] * 2
    assert (terminated, truncated, info["stop_reason"]) == (True, False, StopReason.TURN_LIMIT)
    assert reward == info["score"] == 1 + 2 + 3 == toy_reward([observation])[0]


def test_a_user_who_is_done_terminates_and_the_last_reply_is_what_is_scored(scripted, play):
    seen = []

    def reward(conversations):
        seen.extend(conversations)
        return [0.5] * len(conversations)

    env = ChatEnv(user=scripted(), reward=reward, num_turns=5, is_done=lambda c: c.num_turns == 2)
    *_, last = play(env, seed=0)
    observation, value, terminated, truncated, info = last
    assert (value, terminated, truncated, info["stop_reason"]) == (0.5, True, False, StopReason.USER_DONE)
    assert observation.messages[-1].role == "user"
    assert seen == [observation.prefix(len(observation.messages) - 1)]


def test_a_user_that_fails_truncates_with_the_reason_and_no_score(scripted, play):
    def never(conversations):
        raise AssertionError("an episode without an end has no score")

    env = ChatEnv(user=scripted(fails={1}), reward=never)
    *_, (observation, reward, terminated, truncated, info) = play(env, seed=0)
    assert (reward, terminated, truncated, info["stop_reason"]) == (0.0, False, True, StopReason.ERROR)
    assert info["error"] == "scripted is down"
    assert "score" not in info
    assert observation.messages[-1].content == "Reply number 1."
    env.reset()  # the next episode is unharmed


def test_a_role_that_gives_up_truncates_as_well(play, seeds):
    async def user(view):
        raise RoleFailedError("nothing to say")

    env = ChatEnv(user=user, seeds=seeds[1:2])
    assert play(env, seed=0)[-1][4]["error"] == "nothing to say"


def test_a_bug_in_the_user_surfaces_and_leaves_the_episode_where_it_stood(seeds):
    bugs = [ZeroDivisionError()]

    async def user(view):
        if bugs:
            raise bugs.pop()
        return RoleTurn(text="And then?", usage=Usage())

    env = ChatEnv(user=user, seeds=seeds[1:2])
    env.reset(seed=0)
    with pytest.raises(ZeroDivisionError):
        env.step("Hi.")
    assert [m.content for m in env.step("Hi.")[0].messages[1:]] == ["Hi.", "And then?"]


def test_without_a_first_message_there_is_no_episode(scripted):
    env = ChatEnv(user=scripted(fails={0, 1, 2}))
    with pytest.raises(EndpointUnavailableError):
        env.reset(seed=0)
    with pytest.raises(ResetNeeded):
        env.step("Hello?")


BAD_ACTIONS = [(None, "NoneType"), (7, "int"), ("", "blank"), (" \n", "blank"), ("\ud83d", "half a surrogate pair")]


@pytest.mark.parametrize(("action", "said"), BAD_ACTIONS)
def test_an_action_that_is_no_reply_is_refused_and_harms_nothing(action, said):
    env = ChatEnv()
    before, _ = env.reset(seed=0)
    with pytest.raises(InvalidInputError, match=said):
        env.step(action)
    after = env.step("Fine.")[0]
    assert after.messages[: len(before.messages)] == before.messages
    assert after.num_turns == 1


def test_an_over_long_action_is_refused():
    env = ChatEnv()
    env.reset(seed=0)
    with pytest.raises(InvalidInputError, match="at most 100,000 characters, got 100,001"):
        env.step("x" * 100_001)


def test_stepping_before_reset_or_after_the_end_is_refused(play):
    env = ChatEnv(num_turns=1)
    with pytest.raises(ResetNeeded):
        env.step("Hi.")
    play(env, seed=0)
    with pytest.raises(ResetNeeded):
        env.step("Hi.")


UNFIT = [
    ({"num_turns": 0}, "num_turns to be a whole number of at least 1, got 0"),
    ({"num_turns": True}, "num_turns to be a whole number of at least 1, got True"),
    ({"num_turns": 1.5}, "got 1.5"),
    ({"num_turns": "3"}, "got '3'"),
    ({"seeds": ()}, "at least one seed conversation, got none"),
    ({"seeds": Conversation().user("Hi")}, "a sequence of Conversation"),
    ({"seeds": [[{"role": "user", "content": "Hi"}]]}, "Conversation.from_messages"),
    ({"personas": ["A sailor."]}, "Persona.of makes one of a sentence"),
    ({"user": "nonsense"}, "MODEL@BASE_URL"),
    ({"user": 3}, "an endpoint as text, a chat model or a role, got 3"),
    ({"reward": "random:x"}, "random:SEED"),
    ({"reward": None}, "a callable from conversations to scores, got None"),
    ({"reward_mode": "mean"}, "got 'mean'"),
    ({"is_done": True}, "is_done to be a callable .* got True"),
    ({"render_mode": "human"}, "None or 'ansi', got 'human'"),
]


@pytest.mark.parametrize(("arguments", "said"), UNFIT)
def test_unfit_arguments_are_refused_when_it_is_made(arguments, said):
    with pytest.raises(InvalidInputError, match=said):
        ChatEnv(**arguments)


@pytest.mark.parametrize("num_turns", [np.int64(2), 2])
def test_numbers_of_turns_of_numpys_do_as_well(num_turns, play):
    assert len(play(ChatEnv(num_turns=num_turns), seed=0)) == 1 + 2


def test_a_text_of_numpys_is_a_reply_and_becomes_a_plain_one():
    env = ChatEnv()
    env.reset(seed=0)
    (said,) = [m.content for m in env.step(np.str_("Hi."))[0].messages if m.role == "assistant"]
    assert (said, type(said)) == ("Hi.", str)


@pytest.mark.parametrize("index", [-1, 3, "0", None, True])
def test_an_unknown_seed_index_is_refused(index, seeds):
    with pytest.raises(InvalidInputError, match="0 to 2"):
        ChatEnv(seeds=seeds).reset(options={"seed_index": index})


@pytest.mark.parametrize("scores", [[float("nan")], [], [1.0, 2.0]])
def test_a_reward_without_one_finite_score_is_an_error_and_never_zero(scores):
    env = ChatEnv(num_turns=1, reward=lambda conversations: scores)
    env.reset(seed=0)
    with pytest.raises(InvalidInputError, match="reward function"):
        env.step("Hi.")


async def test_it_works_inside_a_running_event_loop(play):
    assert play(ChatEnv(), seed=3) == await asyncio.to_thread(play, ChatEnv(), seed=3)


def test_closing_twice_is_fine_and_leaves_a_lent_model_alone(scripted):
    model = scripted()
    for env in (ChatEnv(user=model), ChatEnv(user="sandbox")):
        env.close()
        env.close()
    assert model.num_closed == 0


def test_a_closed_one_says_so(play):
    env = ChatEnv()
    play(env, seed=0)
    env.reset()
    env.close()
    for call in (lambda: env.step("Hi."), lambda: env.reset(seed=0)):
        with pytest.raises(ClosedEnvironmentError, match="is closed: make another one"):
            call()


def test_wrappers_of_gymnasium_take_it(play, toy_reward):
    env = gymnasium.make("music/Chat-v0", num_turns=2, reward=toy_reward, reward_mode="difference")
    episode = play(gymnasium.wrappers.RecordEpisodeStatistics(env), seed=0)[-1][4]["episode"]
    assert (episode["l"], episode["r"]) == (2, 3.0)
    limited = play(gymnasium.wrappers.TimeLimit(env, 1), seed=0)
    assert limited[-1][2:4] == (False, True)
    assert limited[-1][4]["stop_reason"] is None


def test_other_replies_then_back_to_the_snapshot_replays_the_episode_bit_by_bit(play, seeds):
    env, other = (ChatEnv(seeds=seeds, reward_mode="difference", num_turns=4) for _ in range(2))
    first, second = play(env, seed=8), play(env)
    for turn in range(4):
        env.reset(seed=8)
        for number in range(1, turn + 1):
            env.step(f"Reply number {number}.")
        kept = pickle.dumps(env.snapshot())
        env.step("Something else.")
        env.reset()
        for place in (env, other):
            assert place.restore(pickle.loads(kept)) == (first[turn][0], first[turn][-1])
            assert [place.step(f"Reply number {number}.") for number in range(turn + 1, 5)] == first[turn + 1 :]
            assert play(place) == second


def test_a_snapshot_of_nothing_is_no_place_to_go_back_to():
    env = ChatEnv()
    with pytest.raises(ResetNeeded, match="before the first reset"):
        env.restore(env.snapshot())
    for other in (None, ChatVectorEnv(1).snapshot()):
        with pytest.raises(InvalidInputError, match=f"a snapshot of one environment, got {type(other).__name__}"):
            env.restore(other)


def step_from(kept):
    env = ChatEnv(num_turns=4)
    before = env.restore(pickle.loads(kept))
    return before, env.step("Reply number 2."), env.step("Reply number 3.")


def test_a_snapshot_goes_on_in_another_process(play):
    env = ChatEnv(num_turns=4)
    episode = play(env, seed=3)
    env.reset(seed=3)
    env.step("Reply number 1.")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        before, *steps = pool.submit(step_from, pickle.dumps(env.snapshot())).result(timeout=60)
    assert before == (episode[1][0], episode[1][-1])
    assert steps == episode[2:4]


def test_a_persona_is_drawn_for_each_episode_told_to_the_user_and_reported(play, scripted, seeds):
    personas = (Persona.of("A sailor."), Persona.of("A baker."))

    def told(seed):
        user = scripted()
        steps = play(ChatEnv(user=user, personas=personas, seeds=seeds[2:], num_turns=2), seed=seed)
        (persona,) = {step[-1]["persona"] for step in steps}
        assert all(any(persona in m.content for m in request.messages) for request in user.requests)
        return persona

    found = [told(seed) for seed in range(8)]
    assert found == [told(seed) for seed in range(8)]
    assert set(found) == {persona.describe() for persona in personas}
    assert ChatEnv().reset(seed=0)[1]["persona"] is None


def test_personas_are_read_from_a_file(tmp_path):
    path = tmp_path / "who.jsonl"
    path.write_text('"A sailor."\n')
    assert "A sailor." in ChatEnv(personas=path).reset(seed=0)[1]["persona"]
    assert "A sailor." in ChatEnv(personas=str(path)).reset(seed=0)[1]["persona"]
    with pytest.raises(InvalidInputError, match="absent"):
        ChatEnv(personas=str(tmp_path / "absent.jsonl"))


def test_the_transcript_shows_who_said_what(seeds):
    env = ChatEnv(seeds=seeds[1:2], render_mode="ansi")
    env.reset(seed=0)
    assert env.render() == "user: Name a river."
    assert ChatEnv().render() is None
