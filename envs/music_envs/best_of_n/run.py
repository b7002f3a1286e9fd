"""`run_best_of_n`: a good conversation from each seed; `sample_pools`: whole conversations to select from later."""

from collections.abc import Callable, Sequence

from music.conversation import Conversation
from music.reward.functions import RewardFunction
from music_envs.best_of_n.config import BestOfNConfig
from music_envs.best_of_n.rollout import Rollout
from music_envs.best_of_n.sampler import CandidateSampler
from music_envs.best_of_n.strategies import Greedy, Strategy, grow_pools
from music_envs.players import Player

__all__ = ["run_best_of_n", "sample_pools"]

GREEDY = Greedy()


async def run_best_of_n(
    seeds: Sequence[Conversation],
    *,
    assistant: Player,
    user: Player,
    reward: RewardFunction,
    config: BestOfNConfig,
    strategy: Strategy = GREEDY,
    on_call: Callable[[], None] = lambda: None,
) -> list[Rollout]:
    """Select a good conversation for each seed.

    A conversation whose endpoint fails ends with an error and does not affect the others. An error of the reward ends
    the run, because nothing can be selected without scores. If the players' models cache their replies, as those of
    `open_players` do, the same call then resumes from there.

    Args:
        seeds: Conversations to start from. If a seed ends with the user, the assistant speaks first, else the user.
        assistant: Offers the candidates; sample it with a temperature above 0, or they are all the same.
        user: Answers the reply that was kept.
        reward: Selects among the candidates.
        config: Sizes and seed.
        strategy: How candidates are drawn and kept; by default as in the paper.
        on_call: Called after every call of a player, for a progress display.

    Returns:
        One rollout per seed, in their order.

    Raises:
        InvalidInputError: The reward function returned unusable scores.

    Example:
        >>> import asyncio
        >>> from music.llm import load_model
        >>> from music.reward import load_reward
        >>> from music_envs import BestOfNConfig, load_prompts, run_best_of_n
        >>> rollouts = asyncio.run(
        ...     run_best_of_n(
        ...         load_prompts("sandbox", 2),
        ...         assistant=load_model("sandbox:fair"),
        ...         user=load_model("sandbox"),
        ...         reward=load_reward("oracle"),
        ...         config=BestOfNConfig(num_candidates=4, num_turns=3),
        ...     )
        ... )
        >>> len(rollouts[0].decisions)
        3
    """
    sampler = CandidateSampler(assistant, user, config, on_call)
    return [rollout.finished() for rollout in await strategy(seeds, sampler, reward)]


async def sample_pools(
    seeds: Sequence[Conversation], *, assistant: Player, user: Player, config: BestOfNConfig
) -> list[list[Rollout]]:
    """Grow N whole conversations from each seed, for any number of selectors to `select_best` from.

    Returns:
        Shape `[seeds][num_candidates]`; the user's seeds are shared within a pool, the assistant's are not.
    """
    return await grow_pools(seeds, CandidateSampler(assistant, user, config))
