"""One turn with a user, for libraries that cannot leave a reply out: what cannot be scored gets a floor."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from music.conversation import StopReason
from music.reward.tokens.contract import UnscorableError
from music_envs.chat.episode import Episode
from music_envs.chat.world import ChatWorld
from music_envs.credit import USER

__all__ = ["Turn", "take_turn", "turns_of_mask"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A reply with its reward, and the user's answer.

    Attributes:
        episode: The conversation after both.
        reward: The reward of the reply.
        is_unscorable: Whether the reply could not be scored and got the floor.
    """

    episode: Episode
    reward: float
    is_unscorable: bool = False

    @property
    def answer(self) -> str | None:
        """The user's message; None if the conversation is over."""
        return None if self.episode.stop_reason else self.episode.conversation.messages[-1].content

    @property
    def outcome(self) -> dict[str, float]:
        """How the conversation ended, for logs: 1 for what happened, else 0."""
        return {
            "unscorable": float(self.is_unscorable),
            "user_failed": float(self.episode.is_truncated and not self.is_unscorable),
            "context_full": float(self.episode.stop_reason is StopReason.CONTEXT_FULL),
        }


async def take_turn(
    world: ChatWorld, before: Episode, reply: str, *, floor: float, is_cut: bool, fits: Callable[[str], bool]
) -> Turn:
    """Add a reply and the user's answer to a conversation, and reward the reply.

    If the user fails, the reply is rewarded as the last one, and the episode is truncated.

    Args:
        world: The user and the reward.
        before: The conversation so far.
        reply: The policy's reply, stripped.
        floor: The score of a conversation that cannot be scored: its last reply is blank, too long, or cut.
        is_cut: Whether the reply filled the context before it was closed.
        fits: Whether the user's answer and another reply fit into the context. If not, the conversation ends with
            `context_full`, and this reply is the last one.
    """
    if is_cut or not reply:
        return _unscorable(world, before, floor, "the reply fills the context" if is_cut else "the reply is blank")
    after = await world.reply(before, reply)
    if after.stop_reason is None and not fits(after.conversation.messages[-1].content):
        after = replace(after, stop_reason=StopReason.CONTEXT_FULL)
    # The world rewards no step that an error cut short, but here the reply is sound, and something has to be paid.
    due = replace(after, stop_reason=StopReason.TURN_LIMIT) if after.is_truncated else after
    try:
        (reward,), (scored,) = await asyncio.to_thread(world.reward, [before], [due])
    except UnscorableError as error:
        return _unscorable(world, before, floor, str(error))
    return Turn(episode=replace(scored, stop_reason=after.stop_reason), reward=reward)


def _unscorable(world: ChatWorld, before: Episode, floor: float, why: str) -> Turn:
    # A difference is paid on top of the score so far, so only then do the rewards add up to the floor.
    paid = before.score or 0.0 if world.reward_mode == "difference" else 0.0
    return Turn(episode=before.failed(why), reward=floor - paid, is_unscorable=True)


def turns_of_mask(mask: Sequence[int]) -> list[int]:
    """Return the turn of each token, from 0, or `USER`.

    Args:
        mask: 1 for the policy's tokens. Between two replies are always some of the user's.
    """
    turns, turn, was_policy = [], -1, 0
    for is_policy in mask:
        turn += is_policy and not was_policy
        turns.append(turn if is_policy else USER)
        was_policy = is_policy
    return turns
