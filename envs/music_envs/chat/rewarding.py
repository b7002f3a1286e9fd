"""When an episode's conversation is scored, and what of it is the reward of a step."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

from music.errors import InvalidInputError
from music.reward.functions import RewardFunction
from music_envs.chat.episode import Episode
from music_envs.scoring import checked_scores

__all__ = ["RewardMode", "require_mode", "reward_steps"]

RewardMode = Literal["terminal", "per_turn", "difference"]
"""`terminal`: the score of the whole conversation, at its end (the paper's). `per_turn`: after every reply, the score
of the conversation so far. `difference`: after every reply, what it added to that score, which before the first one is
taken to be 0; so the rewards of an episode sum up to the terminal one (a potential-based reward, Ng et al. 1999)."""


def require_mode(mode: str) -> None:
    """Refuse what is no reward mode.

    Raises:
        InvalidInputError: It is none.
    """
    if mode not in get_args(RewardMode):
        raise InvalidInputError(f"expected a reward mode of {', '.join(get_args(RewardMode))}, got {mode!r}")


def reward_steps(
    mode: RewardMode, reward: RewardFunction, before: Sequence[Episode], after: Sequence[Episode]
) -> tuple[list[float], list[Episode]]:
    """Reward one step of each episode; all conversations that need a score are scored in one call.

    A step that an error cut short has the reward 0, whatever the mode.

    Args:
        mode: See `RewardMode`.
        reward: Scores conversations.
        before: The episodes before their step.
        after: The same after it.

    Returns:
        The rewards, and the episodes with their scores.

    Raises:
        InvalidInputError: The reward function gave scores that are no use.
    """
    due = [i for i, episode in enumerate(after) if _is_scored(mode, episode)]
    scores = checked_scores(reward, [after[i].judged for i in due]) if due else []
    rewards, scored = [0.0] * len(after), list(after)
    for i, score in zip(due, scores, strict=True):
        rewards[i] = score - (before[i].score or 0.0) if mode == "difference" else score
        scored[i] = replace(after[i], score=score)
    return rewards, scored


def _is_scored(mode: RewardMode, episode: Episode) -> bool:
    return not episode.is_truncated and (episode.is_terminated or mode != "terminal")
