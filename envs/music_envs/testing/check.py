"""`check_chat_env`, and the rules about an environment: how it starts, restores, refuses and closes."""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from music.conversation import Conversation
from music.errors import InvalidInputError
from music_envs.testing.episode_rules import check_ends, check_info, check_step_rewards, check_turns
from music_envs.testing.steps import BrokenRuleError, RecordedStep, begin, play, play_on, require_same, shorten

__all__ = ["check_chat_env"]

NO_REPLIES: tuple[object, ...] = (None, 7, "", " \n", "\ud800", "x" * 1_000_001)


def check_chat_env(make: Callable[[], gymnasium.Env[Conversation, str]], *, seed: int = 0) -> None:
    """Check that a chat environment keeps the rules that agents, learners and searches rely on.

    The rules, by name: `gymnasium` (its `check_env` passes), `turns` (every observation adds the reply and one user
    message, and the episode ends), `ends` (`terminated` and `truncated` agree with the stop reasons), `info` (it has
    its keys, some never change, and usage only grows), `reward` (rewards follow the attribute `reward_mode`, if there
    is one; those of `difference` add up to the score), `determinism` (`reset(seed)` fixes this episode and the next),
    `options` (`seed_index` chooses where an episode starts), `independence` (environments neither change nor close one
    another), `snapshot` (`restore` is exact and repeatable, here and in another environment, but refuses a snapshot
    from before the first reset), `refusal` (an invalid action, or one before the start or after the end, raises and
    changes nothing) and `close` (closing twice is fine).

    Args:
        make: Returns a fresh environment, always with the same arguments; its wrappers are removed.
        seed: Seed of the episodes.

    Raises:
        BrokenRuleError: A rule is broken; the message names it and shows the values.

    Example:
        >>> from music_envs import ChatEnv
        >>> from music_envs.testing import check_chat_env
        >>> check_chat_env(lambda: ChatEnv(num_turns=2))
    """
    _check_gymnasium(make().unwrapped)
    first, second, third, fourth = (make().unwrapped for _ in range(4))
    episode = play(first, seed)
    for check in (check_turns, check_ends, check_info):
        check(episode)
    check_step_rewards(getattr(first, "reward_mode", None), episode)
    following = play(first)
    _check_determinism(second, seed, episode, following)
    _check_options(second, seed, [episode[0], following[0]])
    _check_independence(first, third, seed, episode, following)
    for turn in range(len(episode) - 1):
        _check_snapshot(first, second, seed, turn, episode, following)
    _check_refusal(fourth, seed, episode)
    for env in (first, second, third, fourth):
        _check_close(env)


def _check_gymnasium(env: Any) -> None:
    try:  # Without a spec it cannot make other render modes, and warns.
        check_env(env, skip_render_check=env.spec is None)
    except (AssertionError, AttributeError, TypeError, ValueError, gymnasium.error.Error) as error:
        raise BrokenRuleError("gymnasium", "its check_env to pass", error) from error


def _check_determinism(env: Any, seed: int, episode: Sequence[RecordedStep], following: Sequence[RecordedStep]) -> None:
    for time in ("in another environment", "for the second time"):
        require_same("determinism", f"after reset(seed={seed}) {time}", episode, play(env, seed))
    require_same("determinism", f"in the episode after that of reset(seed={seed})", following, play(env))


def _check_options(env: Any, seed: int, starts: Sequence[RecordedStep]) -> None:
    for index in (start.info["seed_index"] for start in starts):
        came = begin(env, seed, {"seed_index": index}).info["seed_index"]
        if came != index:
            raise BrokenRuleError("options", f"the start that 'seed_index' {index} asks for", came)
    _require_raises("options", InvalidInputError, "'seed_index' -1", lambda: begin(env, seed, {"seed_index": -1}))


def _check_independence(
    env: Any, other: Any, seed: int, episode: Sequence[RecordedStep], following: Sequence[RecordedStep]
) -> None:
    for what, disturb in (("was played", partial(play, other, seed + 1)), ("was closed", other.close)):
        start = begin(env, seed)
        disturb()
        try:
            played, after = play_on(env, [start]), play(env)
        except Exception as error:  # whatever it is, the rule is broken
            raise BrokenRuleError("independence", f"no error while another environment {what}", error) from error
        require_same("independence", f"while another environment {what}", episode, played)
        require_same("independence", f"in the episode after another environment {what}", following, after)


def _check_snapshot(
    env: Any, other: Any, seed: int, turn: int, episode: Sequence[RecordedStep], following: Sequence[RecordedStep]
) -> None:
    env.reset(seed=seed)
    for now in episode[1 : turn + 1]:
        env.step(now.action)
    kept = env.snapshot()
    try:
        pickled = pickle.dumps(kept)
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise BrokenRuleError("snapshot", "a snapshot that can be pickled", error) from error
    env.step("This is quite another reply.")
    env.reset()
    places = (("here", env, kept), ("here again", env, kept), ("in another environment", other, pickle.loads(pickled)))
    for where, place, snapshot in places:
        observation, info = place.restore(snapshot)
        back = [*episode[:turn], replace(episode[turn], observation=observation, info=info)]
        require_same("snapshot", f"after restoring turn {turn} {where}", episode, play_on(place, back))
        require_same("snapshot", f"in the episode after that restored {where}", following, play(place))


def _check_refusal(env: Any, seed: int, episode: Sequence[RecordedStep]) -> None:
    _require_raises("refusal", ResetNeeded, "a reply before the first reset", partial(env.step, "Too early."))
    _require_raises("snapshot", ResetNeeded, "one from before the first reset", lambda: env.restore(env.snapshot()))
    start = begin(env, seed)
    for action in NO_REPLIES:
        if action not in env.action_space:
            _require_raises("refusal", InvalidInputError, f"the reply {shorten(action)}", partial(env.step, action))
    require_same("refusal", "after actions that were refused", episode, play_on(env, [start]))
    _require_raises("refusal", ResetNeeded, "a reply after the end", partial(env.step, "Too late."))


def _check_close(env: Any) -> None:
    for time in ("first", "second"):
        try:
            env.close()
        except Exception as error:  # whatever it is, the rule is broken
            raise BrokenRuleError("close", f"no error when closed for the {time} time", error) from error


def _require_raises(rule: str, kind: type[Exception], what: str, call: Callable[[], object]) -> None:
    try:
        came = call()
    except kind:
        return
    except Exception as error:  # whatever it is, the rule is broken
        raise BrokenRuleError(rule, f"{kind.__name__} for {what}", error) from error
    raise BrokenRuleError(rule, f"{kind.__name__} for {what}", came)
