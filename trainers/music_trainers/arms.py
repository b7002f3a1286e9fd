"""The arms of `music demo` and `music experiment`: how each is trained and measured.

An arm is a reward model. `train_arm` trains it from the shipped starting model, in the same way for all arms.
`draw_test_sets` draws conversations that no arm was trained on; `measure` and `measure_readouts` measure on them.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pydantic import Field

from music.config import Config
from music.conversation import Conversation
from music.pairs import PreferencePair
from music.reward.functions import RewardFunction, length_reward, random_reward
from music.reward.tokens.contract import Readout
from music.sandbox import SandboxModel, oracle_score, seed_pairs
from music.sandbox.artifacts import REWARD_MODEL
from music.sandbox.world.defects import ERROR_GROUPS, Defect, draw_defects, first_turn
from music.sandbox.world.oracle import ErrorKind
from music_trainers.reward.config import Objective, RewardTrainingConfig

if TYPE_CHECKING:
    from music.reward import RewardModel
    from music_envs import Rollout
    from music_trainers.reward.mixture import Mixture
    from music_trainers.reward.records import RewardTrainingResult

__all__ = ["GREEDY_CANDIDATES", "NUM_CANDIDATES", "Measures", "TestSets", "TestSizes", "draw_test_sets", "last_loss"]
__all__ += ["measure", "measure_controls", "measure_readouts", "play_greedy", "single_turn_margins", "train_arm"]
__all__ += ["use_one_thread"]

LEARNING_RATE = 1e-3
BATCH_SIZE = 8
NUM_CANDIDATES = (4, 8)
GREEDY_CANDIDATES = 4
GREEDY_TURNS = 3
CANDIDATE_SKILL = "fair"
HELD_OUT = 1_000_003
"""Added to the seed of the test sets, so that they differ from all training data."""


class TestSizes(Config):
    """Sizes of the test sets."""

    __test__ = False  # pytest would collect it

    num_turns: int = Field(default=5, ge=2)
    """Turns of the test conversations."""
    num_defects: int = Field(ge=1)
    """Pairs with one error, per kind of error and turn."""
    num_single_turn: int = Field(ge=1)
    """Held-out single-turn pairs."""
    num_conversations: int = Field(ge=2)
    """Conversations of each Best-of-N measurement."""


@dataclass(frozen=True, slots=True)
class TestSets:
    """The test sets of all models.

    Attributes:
        defects: Pairs with one error, by group of errors and turn (from 0).
        single_turn: Pairs of one turn, labelled by the oracle without noise.
        pools: For each user, finished conversations to choose from.
    """

    defects: dict[tuple[str, int], list[Defect]]
    single_turn: list[PreferencePair]
    pools: "list[list[Rollout]]"


@dataclass(frozen=True, slots=True)
class Measures:
    """The results of one reward function on the test sets.

    Attributes:
        margins: For each group and turn, the reward of the flawless side minus the reward of the other side.
        single_turn: The same for the single-turn pairs.
        whole: Oracle grades of the selected conversations, by number of candidates.
        greedy: Oracle grades of the conversations of greedy Best-of-N.
    """

    margins: dict[tuple[str, int], list[float]]
    single_turn: list[float]
    whole: dict[int, list[float | None]]
    greedy: list[float | None]


def train_arm(
    pairs: "Sequence[PreferencePair] | Mixture", out: Path, seed: int, objective: Objective | None = None
) -> "RewardTrainingResult":
    """Train the starting model on an arm's pairs and save it to `out`; `seed` draws the order of the pairs."""
    from music_trainers.reward.trainer import train_reward_model

    config = RewardTrainingConfig(
        base=str(REWARD_MODEL),
        out=out,
        objective=objective or Objective(),
        learning_rate=LEARNING_RATE,
        batch_size=BATCH_SIZE,
        seed=seed,
        eval_fraction=0.0,
        checkpoint_every=0,
        overwrite=True,  # a second demo replaces the models of the first
    )
    return train_reward_model(config, pairs, [])


def last_loss(result: "RewardTrainingResult") -> float:
    """Return the mean loss over the last tenth of the steps."""
    tail = result.losses[-max(1, len(result.losses) // 10) :]
    return sum(tail) / len(tail)


def use_one_thread() -> None:
    """Limit torch to one thread in this process: small models gain nothing from more."""
    import torch

    torch.set_num_threads(1)


def draw_test_sets(
    sizes: TestSizes, seed: int, groups: Mapping[str, Sequence[ErrorKind]] = ERROR_GROUPS, *, memory: bool = False
) -> TestSets:
    """Draw the test sets.

    Args:
        sizes: The size of each set.
        seed: Seed of the sets.
        groups: Kinds of errors by the name of their group.
        memory: Whether the users have memory, see `SandboxModel`.
    """
    from music_envs import BestOfNConfig, sample_pools

    seed += HELD_OUT
    drawn: dict[tuple[str, int], list[Defect]] = {}
    for group, kinds in groups.items():
        for turn in range(max(map(first_turn, kinds)), sizes.num_turns):
            each = (draw_defects(kind, turn, sizes.num_turns, sizes.num_defects, seed) for kind in kinds)
            drawn[group, turn] = [defect for some in each for defect in some]
    pools = sample_pools(
        [Conversation()] * sizes.num_conversations,
        **_players(memory=memory),
        config=BestOfNConfig(num_candidates=max(NUM_CANDIDATES), num_turns=sizes.num_turns, seed=seed),
    )
    single = seed_pairs(sizes.num_single_turn, seed, single_turn_share=1.0, label_noise=False, memory=memory)
    return TestSets(drawn, single, asyncio.run(pools))


def measure(reward: RewardFunction, sets: TestSets, seed: int, *, pairs: bool = True) -> Measures:
    """Measure a reward function; with `pairs=False` only its Best-of-N."""
    return _measured(reward, sets, _greedy(reward, sets, seed), pairs=pairs)


def measure_controls(sets: TestSets, seed: int) -> dict[str, Measures]:
    """Measure selectors without a reward model: a random choice, the longest candidate, and the oracle itself."""
    controls: dict[str, RewardFunction] = {
        "random": random_reward(seed),
        "longest": length_reward,
        "oracle": oracle_score,
    }
    return {name: measure(reward, sets, seed, pairs=False) for name, reward in controls.items()}


def measure_readouts(model: "RewardModel", sets: TestSets, seed: int) -> dict[Readout, Measures]:
    """Measure a reward model with both readouts, from one pass over the test sets.

    Greedy Best-of-N runs once: it compares replies to one history, which both readouts rank in the same order.
    """
    pairs = [defect.pair for some in sets.defects.values() for defect in some] + sets.single_turn
    sides = [side for pair in pairs for side in (pair.chosen, pair.rejected)]
    finished = [rollout.conversation for pool in sets.pools for rollout in pool if not rollout.is_failed]
    conversations = list(dict.fromkeys(sides + finished))
    turns = model.score_turns(conversations)
    greedy = _greedy(model.with_readout("last"), sets, seed)
    rewards: dict[Readout, dict[Conversation, float]] = {
        "last": dict(zip(conversations, (by_turn[-1] for by_turn in turns), strict=True)),
        "turn_mean": dict(zip(conversations, map(fmean, turns), strict=True)),
    }

    def look_up(readout: Readout, conversations: Sequence[Conversation]) -> list[float]:
        return [rewards[readout][conversation] for conversation in conversations]

    return {readout: _measured(partial(look_up, readout), sets, greedy) for readout in rewards}


def play_greedy(reward: RewardFunction, num_conversations: int, seed: int, *, memory: bool = False) -> "list[Rollout]":
    """Play the conversations of greedy Best-of-N, the paper's protocol: the reward chooses each reply.

    Args:
        reward: The reward.
        num_conversations: Number of conversations.
        seed: Seed of the test sets.
        memory: Whether the users have memory.
    """
    from music_envs import BestOfNConfig, run_best_of_n

    config = BestOfNConfig(num_candidates=GREEDY_CANDIDATES, num_turns=GREEDY_TURNS, seed=seed + HELD_OUT)
    openings, players = [Conversation()] * num_conversations, _players(memory=memory)
    rollouts = run_best_of_n(openings, **players, reward=reward, config=config)
    return list(asyncio.run(rollouts))


def single_turn_margins(reward: RewardFunction, sets: TestSets) -> list[float]:
    """Return reward(chosen) - reward(rejected) for the single-turn pairs."""
    return _margins(reward, sets.single_turn)


def _measured(reward: RewardFunction, sets: TestSets, greedy: list[float | None], *, pairs: bool = True) -> Measures:
    """Measure everything except greedy Best-of-N."""
    from music_envs import grade_rollouts, select_best

    def whole(num_candidates: int) -> list[float | None]:
        pools = [pool[:num_candidates] for pool in sets.pools]
        return grade_rollouts(select_best(pools, reward), oracle_score)

    return Measures(
        margins={key: _margins(reward, [d.pair for d in some]) for key, some in sets.defects.items()} if pairs else {},
        single_turn=single_turn_margins(reward, sets) if pairs else [],
        whole={num: whole(num) for num in NUM_CANDIDATES},
        greedy=greedy,
    )


def _margins(reward: RewardFunction, pairs: Sequence[PreferencePair]) -> list[float]:
    """Return reward(chosen) - reward(rejected), all scored in one call."""
    rewards = reward([pair.chosen for pair in pairs] + [pair.rejected for pair in pairs])
    return [a - b for a, b in zip(rewards[: len(pairs)], rewards[len(pairs) :], strict=True)]


def _greedy(reward: RewardFunction, sets: TestSets, seed: int) -> list[float | None]:
    """Return the oracle grades of the conversations of greedy Best-of-N."""
    from music_envs import grade_rollouts

    return grade_rollouts(play_greedy(reward, len(sets.pools), seed), oracle_score)


def _players(*, memory: bool) -> dict[str, Any]:
    """Return the roles of Best-of-N: an assistant of medium skill, and a user."""
    from music_agents.roles import AssistantRole, UserRole

    user = SandboxModel(memory=memory)
    return {"assistant": AssistantRole(SandboxModel(CANDIDATE_SKILL)), "user": UserRole(user)}
