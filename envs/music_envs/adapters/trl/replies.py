"""`as_trl_reward`: the reward of single replies, as one of GRPO's `reward_funcs`."""

from collections.abc import Callable, Sequence
from typing import Any

from music.errors import InvalidInputError
from music.reward.functions import RewardFunction
from music.reward.tokens.queries import as_prompt, replied, reply_text
from music_envs.scoring import scores_or_none

__all__ = ["as_trl_reward"]

Messages = list[dict[str, Any]]


def as_trl_reward(reward: RewardFunction) -> Callable[..., list[float | None]]:
    """Return a reward as one of GRPO's `reward_funcs`, for a data set with conversational prompts.

    A reply that cannot be scored, for example a blank one or a bare tool call, gets None, and TRL leaves it out of its
    group. The metric `unscorable` is the share of such replies.
    """

    def conversation_reward(
        prompts: Sequence[Messages],
        completions: Sequence[Messages],
        log_metric: Callable[[str, float], None] | None = None,
        **_: Any,
    ) -> list[float | None]:
        pairs = zip(prompts, completions, strict=True)
        scores = scores_or_none(reward, [replied(as_prompt(prompt), _reply(made)) for prompt, made in pairs])
        if log_metric is not None:
            log_metric("unscorable", scores.count(None) / len(scores))
        return scores

    return conversation_reward


def _reply(completion: Messages) -> str:
    if len(completion) != 1 or completion[0]["role"] != "assistant":
        raise InvalidInputError(f"expected a completion of one assistant message, got {completion!r:.200}")
    return reply_text(completion[0].get("content"))
