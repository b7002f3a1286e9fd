"""`check_chat_env`: what every chat environment keeps to, checked by playing it.

It is for tests of environments of your own::

    def test_my_environment():
        check_chat_env(lambda: MyChatEnv(num_turns=3))

The user should answer the same requests alike, as the sandbox's or a scripted one does: one that samples freely breaks
the rules of determinism whatever the environment does.
"""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, get_args

import gymnasium
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env, data_equivalence

from music.conversation import Conversation, StopReason
from music.errors import InvalidInputError, MusicError
from music_envs.chat.rewarding import RewardMode

__all__ = ["BrokenRuleError", "check_chat_env"]

MAX_TURNS = 100
TOLERANCE = 1e-6
"""How far the reward may be from what its mode promises, relative to that."""
USAGE_KEYS = {"num_calls", "prompt_tokens", "completion_tokens"}
RESET_KEYS = {"seed_index", "turn", "user", "persona", "usage"}
NO_REPLIES: tuple[object, ...] = (None, 7, "", " \n", "\ud800", "x" * 1_000_001)


class BrokenRuleError(MusicError, AssertionError):
    """An environment breaks a rule of chat environments.

    Attributes:
        rule: Name of the rule.
    """

    def __init__(self, rule: str, expected: str, got: object) -> None:
        super().__init__(rule, expected, got)
        self.rule = rule

    def __str__(self) -> str:
        """Say which rule it is, what it asks for, and what came."""
        return f"rule {self.rule!r}: expected {self.args[1]}, got {_shown(self.args[2])}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What a reset brought (an observation and an info), or a step."""

    observation: Conversation
    info: dict[str, Any]
    action: str = ""
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False

    @property
    def is_over(self) -> bool:
        """Whether the episode ends here."""
        return self.terminated or self.truncated


def check_chat_env(make: Callable[[], gymnasium.Env[Conversation, str]], *, seed: int = 0) -> None:
    """Check that a chat environment keeps the rules on which agents, learners and searches rely.

    The rules, by name: `gymnasium` (its `check_env` passes), `turns` (observations go on from the reply, and end with
    the user until the end, which comes), `ends` (`terminated` and `truncated` apart, with their stop reasons), `info`
    (its keys), `reward` (what the attribute `reward_mode` promises, if there is one; the rewards of `difference` sum up
    to the score), `determinism` (`reset(seed)` fixes this episode and the next), `snapshot` (`restore` goes back, here
    and in another environment, bit by bit), `refusal` (what is no reply, or comes before the start or after the end,
    raises and harms nothing) and `close` (twice is fine).

    Args:
        make: Returns a fresh environment, always with the same arguments; its wrappers are taken off.
        seed: Of the episodes that are played.

    Raises:
        BrokenRuleError: A rule is broken; the message names it and shows the values.
    """
    _check_gymnasium(make().unwrapped)
    first, second, third = (make().unwrapped for _ in range(3))
    episode = _play(first, seed)
    for check in (_check_turns, _check_ends, _check_info):
        check(episode)
    _check_reward(getattr(first, "reward_mode", None), episode)
    following = _play(first)
    _check_determinism(second, seed, episode, following)
    for turn in range(len(episode) - 1):
        _check_snapshot(first, second, seed, turn, episode, following)
    _check_refusal(third, seed, episode)
    for env in (first, second, third):
        _check_close(env)


def _play(env: Any, seed: int | None = None) -> list[Moment]:
    """Play an episode; what is replied follows from the turn alone."""
    observation, info = env.reset(seed=seed)
    return _go_on(env, [Moment(observation=observation, info=info)])


def _go_on(env: Any, moments: Sequence[Moment]) -> list[Moment]:
    """Play an episode from where it stands to its end."""
    moments = list(moments)
    while not moments[-1].is_over:
        if len(moments) > MAX_TURNS:
            raise BrokenRuleError("turns", f"an end within {MAX_TURNS} replies", "none")
        moments.append(_step(env, f"This is reply number {len(moments)}."))
    return moments


def _step(env: Any, action: str) -> Moment:
    observation, reward, terminated, truncated, info = env.step(action)
    ends = {"terminated": terminated, "truncated": truncated}
    return Moment(observation=observation, info=info, action=action, reward=float(reward), **ends)


def _check_gymnasium(env: Any) -> None:
    try:
        check_env(
            env, skip_render_check=env.spec is None
        )  # without a spec it cannot make other render modes, and warns
    except (AssertionError, AttributeError, TypeError, ValueError, gymnasium.error.Error) as error:
        raise BrokenRuleError("gymnasium", "its check_env to pass", error) from error


def _check_turns(episode: Sequence[Moment]) -> None:
    for turn, now in enumerate(episode):
        if not now.is_over and now.observation.next_role != "assistant":
            raise BrokenRuleError("turns", f"the user to speak last in turn {turn}", now.observation)
        if turn:
            said = episode[turn - 1].observation.assistant(now.action)
            if now.observation.prefix(len(said.messages)) != said:
                raise BrokenRuleError("turns", f"turn {turn} to go on from {_shown(said)}", now.observation)


def _check_ends(episode: Sequence[Moment]) -> None:
    for turn, now in enumerate(episode[1:], 1):
        reason = now.info.get("stop_reason")
        promised = (reason not in (None, StopReason.ERROR), reason == StopReason.ERROR)
        if (now.terminated, now.truncated) != promised:
            expected = f"(terminated, truncated) = {promised} in turn {turn} with the stop reason {_shown(reason)}"
            raise BrokenRuleError("ends", expected, (now.terminated, now.truncated))


def _check_info(episode: Sequence[Moment]) -> None:
    for turn, now in enumerate(episode):
        keys = RESET_KEYS | ({"stop_reason"} if turn else set())
        keys |= ({"score"} if now.terminated else set()) | ({"error"} if now.truncated else set())
        if not keys <= now.info.keys():
            raise BrokenRuleError("info", f"the keys {sorted(keys)} in turn {turn}", sorted(now.info))
        if not now.info["usage"].keys() >= USAGE_KEYS:
            raise BrokenRuleError("info", f"the keys {sorted(USAGE_KEYS)} in 'usage'", now.info["usage"])
        if now.info["turn"] != turn:
            raise BrokenRuleError("info", f"{turn} as 'turn', after as many replies", now.info["turn"])


def _check_reward(mode: RewardMode | None, episode: Sequence[Moment]) -> None:
    if mode not in get_args(RewardMode):
        return
    total = 0.0
    for turn, now in enumerate(episode[1:], 1):
        total += now.reward
        unpaid = now.truncated or (mode == "terminal" and not now.terminated)
        promised = 0.0 if unpaid else now.info.get("score", float("nan"))
        summed = mode == "difference" and not unpaid
        paid = total if summed else now.reward
        if not abs(paid - promised) <= TOLERANCE * max(1.0, abs(promised)):
            what = "rewards that sum up to" if summed else "the reward"
            raise BrokenRuleError("reward", f"{what} {promised} in turn {turn} with reward_mode {mode!r}", paid)


def _check_determinism(env: Any, seed: int, episode: Sequence[Moment], following: Sequence[Moment]) -> None:
    for time in ("in another environment", "for the second time"):
        _require_same("determinism", f"after reset(seed={seed}) {time}", episode, _play(env, seed))
    _require_same("determinism", f"in the episode after that of reset(seed={seed})", following, _play(env))


def _check_snapshot(
    env: Any, other: Any, seed: int, turn: int, episode: Sequence[Moment], following: Sequence[Moment]
) -> None:
    env.reset(seed=seed)
    for now in episode[1 : turn + 1]:
        env.step(now.action)
    try:
        kept = pickle.dumps(env.snapshot())
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise BrokenRuleError("snapshot", "a snapshot that can be pickled", error) from error
    env.step("This is quite another reply.")
    env.reset()
    for where, place in (("here", env), ("in another environment", other)):
        observation, info = place.restore(pickle.loads(kept))
        back = [*episode[:turn], replace(episode[turn], observation=observation, info=info)]
        _require_same("snapshot", f"after restoring turn {turn} {where}", episode, _go_on(place, back))
        _require_same("snapshot", f"in the episode after that restored {where}", following, _play(place))


def _check_refusal(env: Any, seed: int, episode: Sequence[Moment]) -> None:
    _require_raises(ResetNeeded, "a reply before the first reset", partial(env.step, "Too early."))
    observation, info = env.reset(seed=seed)
    for action in NO_REPLIES:
        if action not in env.action_space:
            _require_raises(InvalidInputError, f"the reply {_shown(action)}", partial(env.step, action))
    played = _go_on(env, [Moment(observation=observation, info=info)])
    _require_same("refusal", "after actions that were refused", episode, played)
    _require_raises(ResetNeeded, "a reply after the end", partial(env.step, "Too late."))


def _check_close(env: Any) -> None:
    for time in ("first", "second"):
        try:
            env.close()
        except Exception as error:  # whatever it is, the rule is broken
            raise BrokenRuleError("close", f"no error when closed for the {time} time", error) from error


def _require_raises(kind: type[Exception], what: str, call: Callable[[], object]) -> None:
    try:
        came = call()
    except kind:
        return
    except Exception as error:  # whatever it is, the rule is broken
        raise BrokenRuleError("refusal", f"{kind.__name__} for {what}", error) from error
    raise BrokenRuleError("refusal", f"{kind.__name__} for {what}", came)


def _require_same(rule: str, when: str, expected: Sequence[Moment], got: Sequence[Moment]) -> None:
    """Require equal moments, to the last bit."""
    for turn, (wanted, came) in enumerate(zip(expected, got, strict=False)):
        for name in (field.name for field in fields(Moment)):
            one, another = getattr(wanted, name), getattr(came, name)
            if not data_equivalence(one, another, exact=True):
                raise BrokenRuleError(rule, f"{name} {_shown(one)} in turn {turn} {when}", another)
    if len(expected) != len(got):
        raise BrokenRuleError(rule, f"{len(expected) - 1} replies {when}", len(got) - 1)


def _shown(value: object) -> str:
    """Return a value for a message, cut where it is long."""
    if isinstance(value, Exception):
        value = f"{type(value).__name__}: {value}"
    text = str(value.to_messages()) if isinstance(value, Conversation) else repr(value)
    return text if len(text) <= 500 else f"{text[:500]}..."
