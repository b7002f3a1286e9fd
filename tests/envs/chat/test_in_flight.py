"""Vector environments whose conversations do not wait for each other: `send` and `recv`."""

import asyncio
import math

import gymnasium
import numpy as np
import pytest
from gymnasium.error import AlreadyPendingCallError, ClosedEnvironmentError, NoAsyncCallError, ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode

from music.aio import run_in_background
from music.errors import InvalidInputError
from music.llm.chat import EndpointUnavailableError
from music.pairs import Usage
from music.reward.tokens.contract import UnscorableError
from music_agents.failures import RoleFailedError
from music_agents.personas import Persona
from music_agents.roles import RoleTurn
from music_envs import ChatEnv, ChatVectorEnv

NUM = 4
MODES = [mode.value for mode in AutoresetMode]
PERSONAS = (Persona.of("A sailor."), Persona.of("A baker."))


class GatedUser:
    """A user who answers those whose gate is open; it fails those in `fails`, and notes who asks."""

    def __init__(self, *, is_open=True):
        self._gates = {env: asyncio.Event() for env in range(NUM)}
        self.asked, self.cancelled, self.fails = [], [], set()
        for env in range(NUM):
            self.turn(env, is_open=is_open)

    def turn(self, env, *, is_open):
        async def turn():  # on the loop where users wait
            self._gates[env].set() if is_open else self._gates[env].clear()

        run_in_background(turn())

    async def __call__(self, view):
        self.asked.append(view.pair)
        try:
            await self._gates[view.pair].wait()
        except asyncio.CancelledError:
            self.cancelled.append(view.pair)
            raise
        if view.pair in self.fails:
            raise RoleFailedError("lost interest")
        return RoleTurn(text=f"Go on, {view.turn} of {view.run_seed}.", usage=Usage(1, 2, 3))


@pytest.fixture
def gated(seeds):
    """Make a vector environment in which environment i always starts from seed i."""

    def make(*, is_open=True, **arguments):
        user = GatedUser(is_open=is_open)
        starts = [seeds[1].assistant(f"The Rhine, {i}.").user("And a lake?") for i in range(NUM)]
        arguments = {"reward": "length", "autoreset_mode": "Disabled"} | arguments
        envs = ChatVectorEnv(NUM, user=user, seeds=starts, **arguments)
        for i in range(NUM):
            envs.reset(seed=0, options={"reset_mask": np.arange(NUM) == i, "seed_index": i})
        return envs, user

    return make


def one(infos, row):
    """Return the info of one row, as a single environment gives it."""
    found = {}
    for key, value in infos.items():
        if not key.startswith("_") and infos[f"_{key}"][row]:
            found[key] = one(value, row) if isinstance(value, dict) else value[row]
    return found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("reward_mode", ["terminal", "per_turn", "difference"])
def test_each_conversation_gets_what_it_gets_in_step(mode, reward_mode, seeds):
    arguments = {
        "num_turns": 3,
        "seeds": seeds,
        "personas": PERSONAS,
        "reward_mode": reward_mode,
        "is_done": lambda conversation: len(conversation.messages[-1].content) % 3 == 0,
    }
    make = {"num_envs": NUM, "autoreset_mode": AutoresetMode(mode)} | arguments
    together, apart = (gymnasium.make_vec("music/Chat-v0", **make) for _ in range(2))
    together.reset(seed=3)
    apart.reset(seed=3)
    expected, received = [[] for _ in range(NUM)], [[] for _ in range(NUM)]

    def note(kept, rows, observations, rewards, terminations, truncations, infos):
        for row, env in enumerate(rows):
            kept[env].append((observations[row], rewards[row], terminations[row], truncations[row], one(infos, row)))

    for number in range(7):
        step = together.step([f"Reply {number} of {i}." for i in range(NUM)])
        note(expected, range(NUM), *step)
        if mode == "Disabled" and (over := step[2] | step[3]).any():
            together.reset(options={"reset_mask": over})
    sent = [0] * NUM
    while live := [i for i in range(NUM) if len(received[i]) < 7]:
        due = {i: f"Reply {sent[i]} of {i}." for i in live if sent[i] == len(received[i])}
        apart.send(due)
        for i in due:
            sent[i] += 1
        rows, *step = apart.recv(at_least=2)
        note(received, rows, *step)
        if mode == "Disabled" and (over := step[1 + 1] | step[3]).any():
            apart.reset(options={"reset_mask": np.isin(np.arange(NUM), rows[over])})
    assert data_equivalence(expected, received, exact=True)


def test_conversations_do_not_wait_for_the_users_of_others_and_what_is_ready_is_scored_in_one_call(gated):
    sizes = []

    def reward(conversations):
        sizes.append(len(conversations))
        return [float(len(c.messages)) for c in conversations]

    envs, user = gated(is_open=False, reward=reward, reward_mode="per_turn", num_turns=9)
    envs.send(dict.fromkeys(range(NUM), "Yes."))
    user.turn(1, is_open=True)
    for _ in range(3):  # one conversation continues alone
        rows, observations, rewards, *_ = envs.recv()
        assert rows.tolist() == [1]
        assert rewards.tolist() == [len(observations[0].messages) - 1]
        envs.send({1: "Yes."})
    user.turn(1, is_open=False)
    envs.recv()
    for env in (3, 0, 2):
        user.turn(env, is_open=True)
    assert envs.recv(at_least=3)[0].tolist() == [0, 2, 3]
    assert sizes == [1, 1, 1, 1, 3]


def test_a_receipt_waits_for_all_that_are_in_flight_if_these_are_fewer_and_no_longer_than_its_timeout(gated):
    envs, user = gated(is_open=False)
    envs.send({0: "Yes.", 2: "No."})
    rows, observations, rewards, terminations, truncations, infos = envs.recv(timeout=0.01)
    assert (rows.tolist(), observations, infos) == ([], (), {})
    assert rewards.shape == terminations.shape == truncations.shape == (0,)
    user.turn(0, is_open=True)
    user.turn(2, is_open=True)
    assert envs.recv(at_least=3, timeout=30)[0].tolist() == [0, 2]


def test_a_user_that_fails_ends_its_own_episode_alone(gated):
    envs, user = gated()
    user.fails = {2}
    envs.send(dict.fromkeys(range(NUM), "Yes."))
    rows, _, _, terminations, truncations, infos = envs.recv(at_least=NUM)
    assert rows.tolist() == list(range(NUM))
    assert truncations.tolist() == [False, False, True, False]
    assert not terminations.any()
    assert infos["error"][2] == "lost interest"
    envs.send({0: "Yes."})
    assert not envs.recv()[4].any()
    with pytest.raises(ResetNeeded, match="environment 2"):
        envs.send({2: "Yes."})


def test_an_episode_that_cannot_be_scored_ends_alone(gated):
    def reward(conversations):
        if any("too long" in c.messages[-1].content for c in conversations):
            raise UnscorableError("over 8 tokens")
        return [1.0] * len(conversations)

    envs, _ = gated(reward=reward, reward_mode="per_turn")
    envs.send({0: "Yes.", 1: "This is too long.", 3: "No."})
    rows, _, rewards, _, truncations, infos = envs.recv(at_least=3)
    assert (rows.tolist(), rewards.tolist()) == ([0, 1, 3], [1.0, 0.0, 1.0])
    assert truncations.tolist() == [False, True, False]
    assert infos["error"].tolist() == [None, "over 8 tokens", None]


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_an_episode_that_does_not_begin_is_an_error_and_the_results_of_others_are_there_afterwards(mode, scripted):
    model = scripted()
    envs = ChatVectorEnv(2, user=model, num_turns=1, autoreset_mode=mode)
    envs.reset(seed=0)
    if mode == "NextStep":
        envs.send({0: "Yes."})
        assert envs.recv()[3].all()
    kept = envs.snapshot()
    num = len(model.requests)
    model.fails = frozenset(range(num, num + 3))  # all three tries to begin
    envs.send({0: "Yes."})
    with pytest.raises(EndpointUnavailableError) as caught:
        envs.recv()
    assert caught.value.__notes__ == ["environment 0 began no episode; the others are not affected"]
    assert envs.snapshot() == kept
    envs.send({1: "No.", 0: "Yes."})  # sent anew
    assert envs.recv(at_least=2)[0].tolist() == [0, 1]


def test_scores_of_no_use_are_an_error_and_the_results_are_there_for_the_next_receipt(gated):
    scores = [math.nan]
    envs, _ = gated(reward=lambda cs: [scores.pop() if scores else 1.0 for _ in cs], reward_mode="per_turn")
    kept = envs.snapshot()
    envs.send({0: "Yes.", 1: "No."})
    with pytest.raises(InvalidInputError, match="finite scores"):
        envs.recv(at_least=2)
    assert envs.snapshot() == kept
    assert envs.recv(at_least=2)[2].tolist() == [1.0, 1.0]


def test_what_is_in_flight_is_cancelled_by_reset_restore_and_close(gated):
    envs, user = gated(is_open=False)
    kept = envs.snapshot()
    everyone = dict.fromkeys(range(NUM), "Yes.")
    envs.send(everyone)
    mask = np.arange(NUM) == 2
    envs.reset(seed=0, options={"reset_mask": mask, "seed_index": 2})
    assert user.cancelled == [2]
    envs.restore(kept)
    assert sorted(user.cancelled) == [0, 1, 2, 3]
    assert envs.snapshot() == kept
    envs.send(everyone)
    envs.close()
    assert sorted(user.cancelled) == sorted([0, 1, 2, 3] * 2)
    with pytest.raises(ClosedEnvironmentError):
        envs.send(everyone)
    with pytest.raises(NoAsyncCallError):
        envs.recv()


def test_what_cannot_be_sent_is_refused_by_name_and_nothing_is_sent(gated):
    envs, user = gated(is_open=False)
    with pytest.raises(NoAsyncCallError, match=r"call send\(\) before recv\(\)"):
        envs.recv()
    for replies, error, said in (
        ({NUM: "Yes."}, InvalidInputError, "expected an environment from 0 to 3, got 4"),
        ({True: "Yes."}, InvalidInputError, "expected an environment from 0 to 3, got True"),
        ({0: "Yes.", 1: " "}, InvalidInputError, "environment 1: expected a reply with some text"),
    ):
        with pytest.raises(error, match=said):
            envs.send(replies)
    envs.send({3: "Yes."})
    for call in (lambda: envs.send({0: "Yes.", 3: "Yes."}), lambda: envs.step(["Yes."] * NUM)):
        with pytest.raises(AlreadyPendingCallError, match="environment 3: its last reply is in flight"):
            call()
    with pytest.raises(InvalidInputError, match="at_least to be a whole number of at least 1, got 0"):
        envs.recv(at_least=0)
    user.turn(3, is_open=True)
    assert envs.recv()[0].tolist() == [3]
    assert user.asked == [3]
    with pytest.raises(ResetNeeded, match="environment 0"):
        ChatVectorEnv(2).send({0: "Yes."})


def test_a_step_that_is_interrupted_leaves_nothing_in_flight(gated, monkeypatch):
    envs, user = gated(is_open=False)
    kept = envs.snapshot()

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(envs._flight, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            envs.step(["Yes."] * NUM)
    assert sorted(user.cancelled) == list(range(NUM))
    assert envs.snapshot() == kept
    for env in range(NUM):
        user.turn(env, is_open=True)
    assert not envs.step(["Yes."] * NUM)[3].any()


def test_received_conversations_are_those_of_single_environments(seeds):
    envs, alone = ChatVectorEnv(2, seeds=seeds, num_turns=2), ChatEnv(seeds=seeds, num_turns=2)
    envs.reset(seed=5)
    alone.reset(seed=6)
    envs.send({1: "Yes."})
    rows, observations, *_ = envs.recv()
    assert (rows.tolist(), observations[0]) == ([1], alone.step("Yes.")[0])
