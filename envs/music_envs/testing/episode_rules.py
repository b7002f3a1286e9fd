"""The rules about one episode: its turns, its end, its infos and its rewards."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, get_args

from music.conversation import StopReason
from music_envs.chat.world import RewardMode
from music_envs.testing.steps import BrokenRuleError, RecordedStep, shorten

__all__ = ["check_ends", "check_info", "check_step_rewards", "check_turns"]

TOLERANCE = 1e-6
"""Relative tolerance of rewards."""
USAGE_KEYS = {"num_calls", "prompt_tokens", "completion_tokens"}
RESET_KEYS = {"seed_index", "turn", "user", "persona", "usage"}
LASTING_KEYS = ("seed_index", "user", "persona")
"""Keys that do not change during an episode."""


def check_turns(episode: Sequence[RecordedStep]) -> None:
    """Check that every turn adds the reply and, until the end, one user message."""
    for turn, now in enumerate(episode):
        if not now.is_over and now.observation.next_role != "assistant":
            raise BrokenRuleError("turns", f"the user to speak last in turn {turn}", now.observation)
        if turn:
            replied = episode[turn - 1].observation.assistant(now.action)
            if now.observation.prefix(len(replied.messages)) != replied:
                raise BrokenRuleError("turns", f"turn {turn} to continue {shorten(replied)}", now.observation)
            if len(now.observation.messages) > len(replied.messages) + 1:
                raise BrokenRuleError("turns", f"at most one message after {shorten(replied)}", now.observation)


def check_ends(episode: Sequence[RecordedStep]) -> None:
    """Check that the stop reason agrees with the kind of end."""
    for turn, now in enumerate(episode[1:], 1):
        reason = now.info.get("stop_reason")
        promised = (reason not in (None, StopReason.ERROR), reason == StopReason.ERROR)
        if (now.terminated, now.truncated) != promised:
            expected = f"(terminated, truncated) = {promised} in turn {turn} with the stop reason {shorten(reason)}"
            raise BrokenRuleError("ends", expected, (now.terminated, now.truncated))


def check_info(episode: Sequence[RecordedStep]) -> None:
    """Check that every info has its keys and agrees with the previous info."""
    for turn, now in enumerate(episode):
        keys = RESET_KEYS | ({"stop_reason"} if turn else set())
        keys |= ({"score"} if now.terminated else set()) | ({"error"} if now.truncated else set())
        if not keys <= now.info.keys():
            raise BrokenRuleError("info", f"the keys {sorted(keys)} in turn {turn}", sorted(now.info))
        if not now.info["usage"].keys() >= USAGE_KEYS:
            raise BrokenRuleError("info", f"the keys {sorted(USAGE_KEYS)} in 'usage'", now.info["usage"])
        if now.info["turn"] != turn:
            raise BrokenRuleError("info", f"{turn} as 'turn', after as many replies", now.info["turn"])
    for turn, (was, now) in enumerate(pairwise(episode), 1):
        _check_continues(turn, was.info, now.info)


def _check_continues(turn: int, was: dict[str, Any], now: dict[str, Any]) -> None:
    for key in LASTING_KEYS:
        if was[key] != now[key]:
            raise BrokenRuleError("info", f"{was[key]!r} as {key!r} in turn {turn}, as before", now[key])
    for key in sorted(USAGE_KEYS):
        if not was["usage"][key] <= now["usage"][key]:
            raise BrokenRuleError("info", f"a {key!r} that is not below that before turn {turn}", now["usage"])


def check_step_rewards(mode: RewardMode | None, episode: Sequence[RecordedStep]) -> None:
    """Check the rewards against their mode; an unknown mode allows any reward."""
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
            what = "rewards that add up to" if summed else "the reward"
            raise BrokenRuleError("reward", f"{what} {promised} in turn {turn} with reward_mode {mode!r}", paid)
