"""`play_episodes`: many episodes of a policy, played concurrently, with their rewards."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gymnasium.utils import seeding

from music.aio import finish_all, run_in_background
from music.errors import InvalidInputError
from music.llm.chat import EndpointError
from music_agents.failures import RoleFailedError
from music_envs.chat.context import fits_of, stop_where_full
from music_envs.chat.episode import Episode
from music_envs.chat.validation import require_action, require_num
from music_envs.chat.world import ChatWorld
from music_envs.policies import Policy

__all__ = ["PlayedEpisode", "play_episodes"]


@dataclass(frozen=True, slots=True)
class PlayedEpisode:
    """A finished episode.

    Attributes:
        seed: Its seed.
        episode: Its final state: the conversation, the score, the stop reason, the user's usage.
        rewards: One per step.
    """

    seed: int
    episode: Episode
    rewards: tuple[float, ...] = ()

    @property
    def total(self) -> float | None:
        """The sum of the rewards; None if an error cut the episode short."""
        return None if self.episode.is_truncated else sum(self.rewards)


def play_episodes(world: ChatWorld, policy: Policy, seeds: Sequence[int]) -> list[PlayedEpisode]:
    """Play one episode per seed, all concurrently; each is what `ChatEnv` plays after `reset(seed=...)`.

    Every turn calls the policy once for all running conversations. It then asks all users at once and scores all
    conversations in one call. An episode is cut short if its user fails permanently, or if the policy has no reply
    or one that cannot be scored; the others are not affected. It ends with `CONTEXT_FULL` if another reply as long as
    its longest one would not fit into the context of the reward model or of the policy (see `music_envs.chat.context`).

    Args:
        world: The user and the reward, with the arguments of `ChatEnv`; you close it.
        policy: Plays the assistant.
        seeds: One per episode. With the same seeds, policies meet the same users at the same starts.

    Returns:
        The episodes, in the order of their seeds. `compare_grades` compares the `total`s of two policies.

    Raises:
        InvalidInputError: The policy returns another number of replies, or a score is not finite.
        EndpointError, RoleFailedError: A user gave no first message.
    """
    generators = [seeding.np_random(seed)[0] for seed in seeds]
    begun = run_in_background(finish_all([world.begin(generator) for generator in generators]))
    played = [PlayedEpisode(seed, episode) for seed, episode in zip(seeds, begun, strict=True)]
    while live := [place for place, each in enumerate(played) if each.episode.stop_reason is None]:
        for place, after in zip(live, _take_turn(world, policy, [played[place] for place in live]), strict=True):
            played[place] = after
    return played


def _take_turn(world: ChatWorld, policy: Policy, live: Sequence[PlayedEpisode]) -> list[PlayedEpisode]:
    """Play one turn of all episodes: the policy replies, the users answer, the step is rewarded."""
    before = [each.episode for each in live]

    async def answer(episode: Episode, reply: str | Exception) -> Episode:
        return await world.reply(episode, reply) if isinstance(reply, str) else episode.failed(reply)

    answers = [answer(episode, reply) for episode, reply in zip(before, _replies(policy, before), strict=True)]
    answered = stop_where_full(run_in_background(finish_all(answers)), fits_of(policy))
    rewards, after = world.reward_each(before, answered)
    return [
        replace(each, episode=episode, rewards=(*each.rewards, reward))
        for each, reward, episode in zip(live, rewards, after, strict=True)
    ]


def _replies(policy: Policy, episodes: Sequence[Episode]) -> list[str | Exception]:
    """Return a reply to each episode, or the error that prevented it."""
    try:
        replies = policy([episode.conversation for episode in episodes])
    except (EndpointError, RoleFailedError) as error:
        return [error] * len(episodes)
    require_num(len(episodes), "replies of the policy", replies)
    checked: list[str | Exception] = []
    for reply in replies:
        try:
            require_action(reply)
            checked.append(reply)
        except InvalidInputError as error:
            checked.append(error)
    return checked
