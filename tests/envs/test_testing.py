"""The contract checker passes what keeps the rules, and names the rule that a broken environment breaks."""

import pickle
import random
import re
from dataclasses import dataclass, replace

import gymnasium
import numpy as np
import pytest

from music.conversation import Conversation
from music.errors import MusicError
from music.pairs import Usage
from music_agents.failures import RoleFailedError
from music_agents.roles import RoleTurn
from music_envs import ChatEnv
from music_envs.testing import BrokenRuleError, check_chat_env


class Changed(ChatEnv):
    """Returns what `change` makes of each step."""

    def __init__(self, **arguments):
        super().__init__(**{"reward": "length"} | arguments)

    def step(self, action):
        return self.change(*super().step(action))

    def change(self, observation, reward, terminated, truncated, info):
        return observation, reward, terminated, truncated, info


class Silent(Changed):
    def change(self, observation, reward, terminated, truncated, info):
        return observation.prefix(observation.turn_ends[-1]), reward, terminated, truncated, info


class Rewriting(Changed):
    def step(self, action):
        return super().step(action.upper() if isinstance(action, str) else action)


class Endless(Changed):
    def __init__(self):
        super().__init__(num_turns=10_000, user=chatty)


class Chatterbox(Changed):
    """Its user brings a whole exchange."""

    def change(self, observation, reward, terminated, truncated, info):
        if not terminated:
            observation = observation.assistant("So I said:").user("And then?")
            self._episode = replace(self._episode, conversation=observation)
        return observation, reward, terminated, truncated, info


class BothEnds(Changed):
    def change(self, observation, reward, terminated, truncated, info):
        return observation, reward, terminated, terminated, info


class TruncatedByTheHorizon(Changed):
    def change(self, observation, reward, terminated, truncated, info):
        return observation, reward, False, terminated, info


class WithoutUsage(Changed):
    def change(self, observation, reward, terminated, truncated, info):
        return observation, reward, terminated, truncated, {key: info[key] for key in info if key != "usage"}


class WithoutCosts(Changed):
    def change(self, observation, reward, terminated, truncated, info):
        return observation, reward, terminated, truncated, info | {"usage": {"num_calls": 1}}


class WithoutScore(Changed):
    def change(self, observation, reward, terminated, truncated, info):
        return observation, reward, terminated, truncated, {key: info[key] for key in info if key != "score"}


class CountingFromOne(Changed):
    def change(self, observation, reward, terminated, truncated, info):
        return observation, reward, terminated, truncated, info | {"turn": info["turn"] + 1}


class Shifty(Changed):
    """Its user is someone else in every turn."""

    def change(self, observation, reward, terminated, truncated, info):
        return observation, reward, terminated, truncated, info | {"persona": f"Number {info['turn']}"}


class Cheap(Changed):
    """It forgets what the user's opening has cost."""

    def change(self, observation, reward, terminated, truncated, info):
        return observation, reward, terminated, truncated, info | {"usage": dict.fromkeys(info["usage"], 0)}


class OffByOne(Changed):
    """Its differences do not sum up to the score."""

    def __init__(self):
        super().__init__(reward_mode="difference")

    def change(self, observation, reward, terminated, truncated, info):
        return observation, reward + terminated, terminated, truncated, info


class PaidEarly(Changed):
    def change(self, observation, reward, terminated, truncated, info):
        return observation, 1.0 if not terminated else reward, terminated, truncated, info


class Moody(Changed):
    """Its user is drawn from a generator of its own."""

    def __init__(self):
        own = random.Random()

        async def user(view):
            mood = own.random() if view.turn == 2 else "steady"  # Gymnasium's checker looks at the first step only
            return RoleTurn(text=f"Mood {mood}.", usage=Usage())

        super().__init__(user=user)


class Drifting(Changed):
    """The episodes after the first follow from nothing."""

    def reset(self, *, seed=None, options=None):
        if seed is None:
            self.np_random = np.random.default_rng()
        return super().reset(seed=seed, options=options)


class Deaf(Changed):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)


class Headstrong(Changed):
    """It hears which start is asked for, and takes the one that it has drawn."""

    def __init__(self):
        super().__init__(seeds=[Conversation().user(f"Name river number {number}.") for number in range(5)])

    def reset(self, *, seed=None, options=None):
        self._world.seed_index_of(options)
        return super().reset(seed=seed)


class Gossiping(Changed):
    """All users remember who came last."""

    last = 0

    def __init__(self):
        async def user(view):
            if view.turn == 0:
                Gossiping.last = view.run_seed
            return RoleTurn(text=f"I heard of {Gossiping.last}.", usage=Usage())

        super().__init__(user=user)


class Selfish(Changed):
    """Closing one closes all."""

    everyone = ()

    def __init__(self):
        super().__init__()
        Selfish.everyone = (*Selfish.everyone, self)

    def close(self):
        for env in Selfish.everyone:
            Changed.close(env)


class Live(Changed):
    """Its snapshot goes on as the environment does."""

    kept = None

    def snapshot(self):
        self.kept = Box(super().snapshot())
        return self.kept

    def step(self, action):
        came = super().step(action)
        if self.kept:
            self.kept.content = super().snapshot()
        return came

    def restore(self, snapshot):
        return super().restore(snapshot.content)


@dataclass
class Box:
    content: object


class Complaisant(Changed):
    """It goes back to before the start, which is nowhere."""

    def restore(self, snapshot):
        return super().restore(snapshot) if snapshot.episode else (Conversation(), {})


class Forgetful(Changed):
    """Its snapshots leave out what draws the next episode."""

    def restore(self, snapshot):
        state = self.np_random.bit_generator.state
        came = super().restore(snapshot)
        self.np_random.bit_generator.state = state
        return came


class Stuck(Changed):
    """It goes back to nowhere."""

    def restore(self, snapshot):
        return self._episode.conversation, {}


class Unpicklable(Changed):
    def snapshot(self):
        return lambda: None


class Obliging(Changed):
    """It takes anything for a reply."""

    def step(self, action):
        return super().step(action if action in self.action_space else "Well.")


class Crashing(Changed):
    def step(self, action):
        return super().step(action.strip() or action)


class Wasteful(Changed):
    """It refuses, but the episode has moved on."""

    def step(self, action):
        if action is None and self._episode:
            super().step("Well.")
        return super().step(action)


class ClosedOnce(Changed):
    def close(self):
        del self._world


class Unwrapped(gymnasium.Env):
    """No chat at all."""


async def chatty(view):
    return RoleTurn(text=f"Go on, {view.turn}.", usage=Usage())


async def fickle(view):
    if view.turn == 2:
        raise RoleFailedError("lost interest")
    return RoleTurn(text=f"Go on, {view.turn}, {view.run_seed}.", usage=Usage())


BROKEN = [
    (Unwrapped, "gymnasium", "action space"),
    (Silent, "turns", "the user to speak last in turn 1, got .*This is reply number 1"),
    (Rewriting, "turns", "THIS IS REPLY"),
    (Chatterbox, "turns", "at most one message after .*This is reply number 1.*, got .*So I said"),
    (Endless, "turns", "an end within 100 replies"),
    (BothEnds, "ends", r"\(True, False\) in turn 3 with the stop reason .*turn_limit.*, got \(True, True\)"),
    (TruncatedByTheHorizon, "ends", r"got \(False, True\)"),
    (WithoutUsage, "info", "the keys .*'usage'"),
    (WithoutCosts, "info", r"completion_tokens.*got \{'num_calls': 1\}"),
    (WithoutScore, "info", "the keys .*'score'"),
    (CountingFromOne, "info", "1 as 'turn', after as many replies, got 2"),
    (Shifty, "info", "None as 'persona' in turn 1, as before, got 'Number 1'"),
    (Cheap, "info", r"'completion_tokens' that is not below that before turn 1, got \{.*'completion_tokens': 0"),
    (OffByOne, "reward", r"rewards that add up to 69.0 in turn 3 with reward_mode 'difference', got 70.0"),
    (PaidEarly, "reward", "the reward 0.0 in turn 1 with reward_mode 'terminal', got 1.0"),
    (Moody, "determinism", "observation .*Mood"),
    (Drifting, "determinism", "in the episode after"),
    (Deaf, "options", "InvalidInputError for 'seed_index' -1"),
    (Headstrong, "options", "the start that 'seed_index' [0-4] asks for, got [0-4]"),
    (Gossiping, "independence", "I heard of .* in turn 1 while another environment was played"),
    (Selfish, "independence", "no error while another environment was closed, got 'ClosedEnvironmentError"),
    (Live, "snapshot", "after restoring turn 0 here"),
    (Complaisant, "snapshot", "ResetNeeded for one from before the first reset"),
    (Forgetful, "snapshot", "in the episode after that restored here"),
    (Stuck, "snapshot", "after restoring turn 0 here"),
    (Unpicklable, "snapshot", "can be pickled"),
    (Obliging, "refusal", "InvalidInputError for the reply None"),
    (Crashing, "refusal", "got .AttributeError"),
    (Wasteful, "refusal", "after actions that were refused"),
    (ClosedOnce, "close", "closed for the second time"),
]


@pytest.mark.parametrize(("broken", "rule", "said"), BROKEN, ids=[broken.__name__ for broken, *_ in BROKEN])
def test_a_broken_environment_breaks_its_rule_and_the_values_are_shown(broken, rule, said):
    with pytest.raises(BrokenRuleError, match=f"(?s)rule '{rule}': expected .*{said}") as caught:
        check_chat_env(broken)
    assert caught.value.rule == rule


def test_every_rule_has_an_environment_that_breaks_it():
    documented = check_chat_env.__doc__.partition("The rules, by name:")[2].partition("Args:")[0]
    rules = {rule for _, rule, _ in BROKEN}
    assert rules == set(re.findall(r"`(\w+)`\s+\(", documented))


@pytest.mark.parametrize("reward_mode", ["terminal", "per_turn", "difference"])
@pytest.mark.parametrize("seed", [0, 5])
def test_the_environment_keeps_the_rules(reward_mode, seed):
    check_chat_env(lambda: ChatEnv(reward_mode=reward_mode), seed=seed)


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_turns": 1},
        {"user": fickle, "num_turns": 4, "reward_mode": "difference"},
        {"is_done": lambda conversation: conversation.num_turns == 2, "reward_mode": "per_turn"},
        {"seeds": (Conversation().user("Which tea?").assistant("Green."), Conversation().user("Name a river."))},
    ],
)
def test_whichever_way_episodes_begin_and_end(arguments):
    check_chat_env(lambda: ChatEnv(**arguments))


def test_wrappers_are_taken_off_and_nothing_warns(recwarn):
    check_chat_env(lambda: gymnasium.make("music/Chat-v0"))
    check_chat_env(ChatEnv)
    assert [str(warning.message) for warning in recwarn] == []


def test_the_error_is_for_people_and_for_pytest_and_can_be_sent():
    error = BrokenRuleError("ends", "one end", 2)
    assert isinstance(error, MusicError)
    assert isinstance(error, AssertionError)
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "rule 'ends': expected one end, got 2"
