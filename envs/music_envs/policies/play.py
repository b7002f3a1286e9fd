"""`play_episodes`: many episodes of a policy, side by side, and what each earned."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gymnasium.utils import seeding

from music.aio import run_in_background
from music.conversation import StopReason
from music.errors import InvalidInputError
from music.llm.chat import EndpointError
from music.reward.tokens.contract import UnscorableError
from music_agents.failures import RoleFailedError
from music_envs.chat.batches import all_at_once, require_as_many
from music_envs.chat.episode import Episode
from music_envs.chat.info import require_reply
from music_envs.chat.world import ChatWorld
from music_envs.policies.policy import Policy

__all__ = ["Played", "play_episodes"]


@dataclass(frozen=True, slots=True)
class Played:
    """An episode that was played.

    Attributes:
        seed: Which one.
        episode: How it ended: the conversation, its score, the stop reason, the user's usage.
        rewards: Of its steps.
    """

    seed: int
    episode: Episode
    rewards: tuple[float, ...] = ()

    @property
    def total(self) -> float | None:
        """The sum of the rewards; None where an error cut the episode short."""
        return None if self.episode.is_truncated else sum(self.rewards)


def play_episodes(world: ChatWorld, policy: Policy, seeds: Sequence[int]) -> list[Played]:
    """Play an episode for each seed, as `ChatEnv` does after `reset(seed=...)`, all side by side.

    In every turn the policy is asked once, for all conversations that go on; then all users are asked at once, and all
    that is to be scored is scored in one call. An episode is cut short, and leaves the others be, where its user fails
    for good, or where the policy has no reply, or one that cannot be scored.

    Args:
        world: The user and the reward, with all that `ChatEnv` takes; it stays yours to close.
        policy: Plays the assistant.
        seeds: Of the episodes: with the same seeds, policies meet the same users in the same places.

    Returns:
        The episodes, in the order of their seeds. `compare` tells whether the `total` of one policy is above another's.

    Raises:
        InvalidInputError: The policy gives another number of replies, or a score is not finite.
        EndpointError, RoleFailedError: A user gave no first message.
    """
    generators = [seeding.np_random(seed)[0] for seed in seeds]
    begun = run_in_background(all_at_once([world.begin(generator) for generator in generators]))
    played = [Played(seed, episode) for seed, episode in zip(seeds, begun, strict=True)]
    while live := [place for place, each in enumerate(played) if each.episode.stop_reason is None]:
        for place, after in zip(live, _take_turn(world, policy, [played[place] for place in live]), strict=True):
            played[place] = after
    return played


def _take_turn(world: ChatWorld, policy: Policy, live: Sequence[Played]) -> list[Played]:
    """Let the policy reply in all episodes, the users go on, and the reward be paid."""
    before = [each.episode for each in live]
    replies = _replies(policy, before)
    going_on = [_go_on(world, episode, reply) for episode, reply in zip(before, replies, strict=True)]
    paid = _rewarded(world, before, run_in_background(all_at_once(going_on)))
    return [
        replace(each, episode=after, rewards=(*each.rewards, reward))
        for each, (reward, after) in zip(live, paid, strict=True)
    ]


async def _go_on(world: ChatWorld, episode: Episode, reply: str | Exception) -> Episode:
    """Reply in an episode, or cut it short."""
    return await world.reply(episode, reply) if isinstance(reply, str) else _cut_short(episode, reply)


def _replies(policy: Policy, episodes: Sequence[Episode]) -> list[str | Exception]:
    """Return a reply to each episode, or why there is none."""
    try:
        replies = policy([episode.conversation for episode in episodes])
    except (EndpointError, RoleFailedError) as error:
        return [error] * len(episodes)
    require_as_many(len(episodes), "replies of the policy", replies)
    return [_checked(reply) for reply in replies]


def _checked(reply: str) -> str | Exception:
    try:
        require_reply(reply)
    except InvalidInputError as error:
        return error
    return reply


def _rewarded(world: ChatWorld, before: Sequence[Episode], after: Sequence[Episode]) -> list[tuple[float, Episode]]:
    """Reward a step of each episode, in one call if all can be scored; cut those short that cannot."""
    try:
        return list(zip(*world.reward(before, after), strict=True))
    except UnscorableError as error:
        if len(after) == 1:
            return [(0.0, _cut_short(after[0], error))]
        return [_rewarded(world, [was], [now])[0] for was, now in zip(before, after, strict=True)]


def _cut_short(episode: Episode, error: object) -> Episode:
    return replace(episode, stop_reason=StopReason.ERROR, error=str(error))
