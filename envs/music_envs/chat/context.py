"""The limit of a chat's length: an episode stops before its conversation outgrows a model's context.

Rewards and policies that have a limit have a method `fits` (`RewardModel`, `RemoteReward`, `ModelPolicy`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from music.conversation import Conversation, StopReason
from music_envs.chat.episode import Episode

__all__ = ["Fits", "fits_of", "stop_where_full"]

Fits: TypeAlias = Callable[[Sequence[Conversation]], Sequence[bool]]
"""Returns, for each conversation that ends with the assistant, whether the model reads it as a whole."""


def fits_of(model: object) -> Fits | None:
    """Return the limit of a reward or a policy; None if it has none that it knows."""
    fits: Fits | None = getattr(model, "fits", None)
    return fits


def stop_where_full(episodes: Sequence[Episode], fits: Fits | None) -> list[Episode]:
    """End episodes that have no room for another reply as long as their longest one, with `CONTEXT_FULL`.

    An episode that is over keeps its reason, unless its conversation does not fit as it is.

    Args:
        episodes: After a reply; those with an error are left alone.
        fits: The limit; None for none.
    """
    if fits is None:
        return list(episodes)
    due = [i for i, each in enumerate(episodes) if not each.is_truncated]
    fitting = fits([_grown(episodes[i]) for i in due]) if due else []
    full = {i for i, has_room in zip(due, fitting, strict=True) if not has_room}
    return [
        replace(each, stop_reason=StopReason.CONTEXT_FULL) if i in full else each for i, each in enumerate(episodes)
    ]


def _grown(episode: Episode) -> Conversation:
    """Return the conversation of a running episode with one more reply, and of one that is over up to its last."""
    if episode.stop_reason is not None:
        return episode.judged
    replies = [message.content for message in episode.conversation.messages if message.role == "assistant"]
    return episode.conversation.assistant(max(replies[-episode.turn :], key=len))
