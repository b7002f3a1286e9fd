"""`as_compute_score`: a reward as verl's `compute_score`, for single replies."""

from collections.abc import Callable, Mapping
from typing import Any

from music.errors import InvalidInputError
from music.reward.functions import RewardFunction
from music.reward.tokens.queries import as_prompt, replied
from music_envs.scoring import scores_or_none

__all__ = ["as_compute_score"]

SINGLE_TURN = 2
"""verl's number of turns for one prompt and one reply."""


def as_compute_score(reward: RewardFunction, *, floor: float) -> Callable[..., dict[str, float]]:
    """Return a reward as verl's `compute_score`.

    verl passes the reply as text, but not the prompt: every row's `extra_info` must have the prompt's `messages`.
    Rollouts of several turns are refused, because their text no longer shows the speakers.

    Args:
        reward: Scores conversations.
        floor: The score of a reply that cannot be scored, for example a blank one: verl cannot leave it out. The extra
            value `unscorable` is 1 for those.
    """

    def compute_score(
        data_source: str, solution_str: str, ground_truth: Any, extra_info: Mapping[str, Any] | None = None, **_: Any
    ) -> dict[str, float]:
        info = extra_info or {}
        if (info.get("num_turns") or SINGLE_TURN) > SINGLE_TURN:
            raise InvalidInputError(
                f"expected a rollout of one prompt and one reply, got one of {info['num_turns']} turns, whose text "
                "does not distinguish the user from the assistant: score it in the agent loop, which has its messages"
            )
        if info.get("messages") is None:
            raise InvalidInputError(f"expected the prompt's `messages` in extra_info, got the keys {sorted(info)}")
        (score,) = scores_or_none(reward, [replied(as_prompt(info["messages"]), solution_str)])
        return {"score": floor if score is None else score, "unscorable": float(score is None)}

    return compute_score
