"""What is refused names the fix, and a reset or step that raises draws nothing: a retry begins the same episodes."""

import inspect

import gymnasium
import numpy as np
import pytest
from gymnasium.error import Error
from gymnasium.utils.env_checker import data_equivalence

from music.aio import run_in_background
from music.llm.chat import EndpointUnavailableError, RequestRejectedError
from music.pairs import Usage
from music_agents.failures import RoleFailedError
from music_agents.personas import Persona
from music_agents.roles import RoleTurn
from music_envs import AsyncChatEnv, ChatEnv, ChatVectorEnv, ChatWorld

PERSONAS = (Persona.of("A sailor."), Persona.of("A baker."))
NUM_FAILURES = [0, 1, 2, 3, 5, 7]


class Flaky:
    """A user who says what was drawn, and whose next calls can be made to fail."""

    def __init__(self, failures=(), error=EndpointUnavailableError):
        self.failures = list(failures)
        self.error = error

    def fail(self, num):
        self.failures = [True] * num

    async def __call__(self, view):
        if self.failures and self.failures.pop(0):
            raise self.error("down")
        return RoleTurn(text=f"{view.persona.who} {view.run_seed}, {view.turn}.", usage=Usage(1, 2, 3))


def insist(call):
    """Try again until it works."""
    for _ in range(10):
        try:
            return call()
        except (EndpointUnavailableError, ConnectionError):
            continue
    raise AssertionError("it never worked")


class Awaited:
    """An asynchronous environment, played from outside."""

    def __init__(self, **arguments):
        self.env = AsyncChatEnv(**arguments)

    def reset(self, **how):
        return run_in_background(self.env.reset(**how))

    def snapshot(self):
        return self.env.snapshot()


KINDS = [ChatEnv, Awaited, lambda **arguments: ChatVectorEnv(3, **arguments)]


@pytest.mark.parametrize("make", KINDS, ids=["single", "awaited", "vector"])
@pytest.mark.parametrize("num_failures", NUM_FAILURES)
def test_a_reset_that_is_tried_again_begins_the_episode_that_it_would_have_begun(make, seeds, num_failures):
    user = Flaky()
    env, calm = make(user=user, personas=PERSONAS), make(user=Flaky(), personas=PERSONAS)
    for how in ({"seed": 4}, {}, {"seed": 5, "options": {"seed_index": 0}}, {}):
        user.fail(num_failures)
        assert data_equivalence(insist(lambda how=how: env.reset(**how)), calm.reset(**how), exact=True)
    assert env.snapshot() == calm.snapshot()


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize("num_failures", NUM_FAILURES)
def test_a_step_whose_beginnings_fail_begins_the_same_when_it_is_tried_again(mode, num_failures):
    user, steps = Flaky(), []
    for player in (user, Flaky()):
        envs = ChatVectorEnv(3, user=player, personas=PERSONAS, num_turns=1, autoreset_mode=mode)
        envs.reset(seed=1)
        for number in range(4):
            user.fail(num_failures)
            steps.append(insist(lambda envs=envs, number=number: envs.step((f"Reply {number}.",) * 3)))
    assert len(steps) == 8
    assert data_equivalence(steps[:4], steps[4:], exact=True)


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_a_reward_that_raises_takes_the_beginnings_back_as_well(mode, toy_reward):
    outages = []

    def reward(conversations):
        if outages:
            raise outages.pop()
        return toy_reward(conversations)

    def is_done(conversation):
        return int(conversation.messages[-1].content.split()[-2].strip(",")) % 2 == 0  # some, and others go on

    def play(make_outages):
        arguments = {"user": Flaky(), "personas": PERSONAS, "num_turns": 2, "is_done": is_done}
        envs = ChatVectorEnv(4, reward=reward, reward_mode="per_turn", autoreset_mode=mode, **arguments)
        envs.reset(seed=3)
        for number in range(6):
            outages[:] = make_outages()
            yield insist(lambda number=number: envs.step((f"Reply {number}.",) * 4))

    assert data_equivalence(list(play(lambda: [ConnectionError("down")])), list(play(list)), exact=True)


def test_a_reset_that_raised_leaves_no_trace_of_its_seed():
    user = Flaky()
    env, calm = ChatEnv(user=user, personas=PERSONAS), ChatEnv(user=Flaky(), personas=PERSONAS)
    env.reset(seed=1)
    calm.reset(seed=1)
    user.fail(3)
    with pytest.raises(EndpointUnavailableError):
        env.reset(seed=9)
    assert env.reset() == calm.reset()
    assert env.np_random_seed == calm.np_random_seed


@pytest.mark.parametrize("error", [RoleFailedError, RequestRejectedError])
def test_an_opening_that_would_fail_again_is_drawn_anew_and_the_same_every_time(error):
    def opened(num_failures):
        return ChatEnv(user=Flaky([True] * num_failures, error), personas=PERSONAS).reset(seed=2)[0]

    assert len({opened(num) for num in (0, 1, 2)}) == 3
    assert opened(2) == opened(2)
    with pytest.raises(error):
        opened(3)


def test_options_that_are_none_are_refused_and_harm_nothing(seeds):
    env, envs = ChatEnv(seeds=seeds), ChatVectorEnv(2, seeds=seeds)
    for place, replies in ((env, "Hi."), (envs, ("Hi.", "Ho."))):
        place.reset(seed=0)
        before = place.snapshot()
        for options in ({"seed_index": 3}, {"sed_index": 1}, {"seed_index": 0, "turns": 4}):
            with pytest.raises(ValueError, match="seed_index"):
                place.reset(seed=5, options=options)
        assert place.snapshot() == before
        place.step(replies)


def test_numbers_of_numpys_are_seeds_and_indices_too(seeds):
    env, envs = ChatEnv(seeds=seeds), ChatVectorEnv(2, seeds=seeds)
    options = {"seed_index": np.int64(1)}
    assert env.reset(seed=np.int64(3), options=options) == env.reset(seed=3, options={"seed_index": 1})
    expected = envs.reset(seed=3)
    for seed in (np.int64(3), np.array([3, 4]), [np.int32(3), 4]):
        assert data_equivalence(envs.reset(seed=seed), expected, exact=True)


@pytest.mark.parametrize("seed", [-1, 1.5, "1"])
def test_what_is_no_seed_is_refused_and_harms_nothing(seed):
    env = ChatEnv()
    env.reset(seed=0)
    before = env.snapshot()
    with pytest.raises(Error, match="Seed"):
        env.reset(seed=seed)
    assert env.snapshot() == before


@pytest.mark.parametrize(
    ("make", "owner"),
    [
        (ChatEnv, "ChatEnv"),
        (ChatVectorEnv, "ChatVectorEnv"),
        (AsyncChatEnv, "AsyncChatEnv"),
        (ChatWorld, "ChatWorld"),
        (lambda **arguments: gymnasium.make("music/Chat-v0", **arguments), "ChatEnv"),
        (lambda **arguments: gymnasium.make_vec("music/Chat-v0", **arguments), "ChatVectorEnv"),
    ],
)
def test_an_unknown_argument_names_the_nearest_one_that_there_is(make, owner):
    with pytest.raises(TypeError, match=f"^{owner} got an unexpected argument 'num_turn'; did you mean 'num_turns'"):
        make(num_turn=3)
    with pytest.raises(TypeError, match=f"^{owner} got an unexpected argument 'qqq'; it takes .*num_turns, user, rew"):
        make(qqq=3)


@pytest.mark.parametrize(
    ("kind", "own"),
    [(ChatEnv, {"render_mode"}), (ChatVectorEnv, {"num_envs", "autoreset_mode", "render_mode"}), (AsyncChatEnv, set())],
)
def test_all_kinds_of_environment_show_the_same_arguments(kind, own):
    shown, shared = inspect.signature(kind).parameters, inspect.signature(ChatWorld).parameters
    assert {name: each for name, each in shown.items() if name not in own} == shared
