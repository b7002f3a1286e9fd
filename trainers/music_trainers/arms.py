"""The arms of `music demo` and `music experiment`: how each is trained, and what is measured of it.

An arm is a reward model. `train_arm` trains it further from the shipped starting model, the same way for all.
`draw_test_sets` draws conversations that no arm saw; `measure` and `measure_readouts` measure on them.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
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
from music.sandbox.world.defects import ERROR_GROUPS, Defect, draw_defects
from music.sandbox.world.oracle import ErrorKind
from music_trainers.reward.config import Objective, RewardTrainingConfig

if TYPE_CHECKING:
    from music.reward import RewardModel
    from music_envs import Rollout
    from music_trainers.reward.records import RewardTrainingResult

__all__ = ["GREEDY_CANDIDATES", "NUM_CANDIDATES", "Measures", "TestSets", "TestSizes", "draw_test_sets", "last_loss"]
__all__ += ["measure", "measure_controls", "measure_readouts", "single_turn_margins", "train_arm", "use_one_thread"]

LEARNING_RATE = 1e-3
BATCH_SIZE = 8
NUM_CANDIDATES = (4, 8)
GREEDY_CANDIDATES = 4
GREEDY_TURNS = 3
CANDIDATE_SKILL = "fair"
HELD_OUT = 1_000_003
"""Added to the seed of what is measured, so that none of it was ever trained on."""


class TestSizes(Config):
    """How much is measured."""

    __test__ = False  # no class of tests

    num_turns: int = Field(default=5, ge=2)
    """Turns of the conversations that are measured on."""
    num_defects: int = Field(ge=1)
    """Minimal pairs per kind of error and turn."""
    num_single_turn: int = Field(ge=1)
    """Held-out single-turn pairs."""
    num_conversations: int = Field(ge=2)
    """Conversations of each Best-of-N measurement."""


@dataclass(frozen=True, slots=True)
class TestSets:
    """What every model is measured on.

    Attributes:
        defects: Minimal pairs by group of errors and turn (from 0).
        single_turn: Pairs of one turn, labelled by the oracle without noise.
        pools: For each script, finished conversations to choose from.
    """

    defects: dict[tuple[str, int], list[Defect]]
    single_turn: list[PreferencePair]
    pools: "list[list[Rollout]]"


@dataclass(frozen=True, slots=True)
class Measures:
    """What one reward function does on the test sets.

    Attributes:
        margins: For each group and turn, reward of the flawless side less that of the other.
        single_turn: The same for the single-turn pairs.
        whole: Oracle grades of the conversations that it selects, by number of candidates.
        greedy: Oracle grades of the conversations that greedy Best-of-N makes of its choices.
    """

    margins: dict[tuple[str, int], list[float]]
    single_turn: list[float]
    whole: dict[int, list[float | None]]
    greedy: list[float | None]


def train_arm(
    pairs: Sequence[PreferencePair], out: Path, seed: int, objective: Objective | None = None
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
        overwrite=True,  # a demo that is run again replaces what it made
    )
    return train_reward_model(config, pairs, [])


def last_loss(result: "RewardTrainingResult") -> float:
    """Return the mean loss over the last tenth of the steps."""
    tail = result.losses[-max(1, len(result.losses) // 10) :]
    return sum(tail) / len(tail)


def use_one_thread() -> None:
    """Give this process one core: small models gain nothing from more."""
    import torch

    torch.set_num_threads(1)


def draw_test_sets(sizes: TestSizes, seed: int, groups: Mapping[str, Sequence[ErrorKind]] = ERROR_GROUPS) -> TestSets:
    """Draw the test sets.

    Args:
        sizes: How much of each.
        seed: Draws them.
        groups: Kinds of errors by the name that their margins are kept under.
    """
    from music_envs import BestOfNConfig, sample_pools

    seed += HELD_OUT
    drawn: dict[tuple[str, int], list[Defect]] = {}
    for group, kinds in groups.items():
        # Nothing can be recalled in the first turn.
        for turn in range(int(ErrorKind.RECOLLECTION in kinds), sizes.num_turns):
            each = (draw_defects(kind, turn, sizes.num_turns, sizes.num_defects, seed) for kind in kinds)
            drawn[group, turn] = [defect for some in each for defect in some]
    pools = sample_pools(
        [Conversation()] * sizes.num_conversations,
        **_players(),
        config=BestOfNConfig(num_candidates=max(NUM_CANDIDATES), num_turns=sizes.num_turns, seed=seed),
    )
    single = seed_pairs(sizes.num_single_turn, seed, single_turn_share=1.0, label_noise=False)
    return TestSets(drawn, single, asyncio.run(pools))


def measure(reward: RewardFunction, sets: TestSets, seed: int, *, pairs: bool = True) -> Measures:
    """Measure a reward function; `pairs=False` leaves out its ranking of pairs."""
    return _measured(reward, sets, _greedy(reward, len(sets.pools), seed + HELD_OUT), pairs=pairs)


def measure_controls(sets: TestSets, seed: int) -> dict[str, Measures]:
    """Measure selectors that are no reward models: a random choice, the longest candidate, and the oracle itself."""
    controls: dict[str, RewardFunction] = {
        "random": random_reward(seed),
        "longest": length_reward,
        "oracle": oracle_score,
    }
    return {name: measure(reward, sets, seed, pairs=False) for name, reward in controls.items()}


def measure_readouts(model: "RewardModel", sets: TestSets, seed: int) -> dict[Readout, Measures]:
    """Measure a reward model with either readout, from one pass over the test sets.

    Greedy Best-of-N is run once: it compares replies to one history, which both readouts rank alike.
    """
    conversations = list(dict.fromkeys(_conversations(sets)))
    turns = model.score_turns(conversations)
    greedy = _greedy(model.with_readout("last"), len(sets.pools), seed + HELD_OUT)
    readings: dict[Readout, list[float]] = {
        "last": [rewards[-1] for rewards in turns],
        "turn_mean": [fmean(rewards) for rewards in turns],
    }
    known = {name: dict(zip(conversations, rewards, strict=True)) for name, rewards in readings.items()}
    return {name: _measured(partial(_look_up, rewards), sets, greedy) for name, rewards in known.items()}


def single_turn_margins(reward: RewardFunction, sets: TestSets) -> list[float]:
    """Return reward(chosen) - reward(rejected) for the single-turn pairs."""
    return _margins(reward, sets.single_turn)


def _conversations(sets: TestSets) -> Iterator[Conversation]:
    """Yield all that is scored."""
    pairs = [defect.pair for some in sets.defects.values() for defect in some] + sets.single_turn
    for pair in pairs:
        yield from (pair.chosen, pair.rejected)
    for pool in sets.pools:
        yield from (rollout.conversation for rollout in pool if not rollout.is_failed)


def _look_up(rewards: Mapping[Conversation, float], conversations: Sequence[Conversation]) -> list[float]:
    return [rewards[conversation] for conversation in conversations]


def _measured(reward: RewardFunction, sets: TestSets, greedy: list[float | None], *, pairs: bool = True) -> Measures:
    """Measure all but greedy Best-of-N."""
    return Measures(
        margins={key: _margins(reward, [d.pair for d in some]) for key, some in sets.defects.items()} if pairs else {},
        single_turn=single_turn_margins(reward, sets) if pairs else [],
        whole={n: _whole(reward, sets.pools, n) for n in NUM_CANDIDATES},
        greedy=greedy,
    )


def _margins(reward: RewardFunction, pairs: Sequence[PreferencePair]) -> list[float]:
    """Return reward(chosen) - reward(rejected), all scored in one call."""
    rewards = reward([pair.chosen for pair in pairs] + [pair.rejected for pair in pairs])
    return [a - b for a, b in zip(rewards[: len(pairs)], rewards[len(pairs) :], strict=True)]


def _whole(reward: RewardFunction, pools: "Sequence[Sequence[Rollout]]", num_candidates: int) -> list[float | None]:
    """Grade the conversations selected among the first N of each pool."""
    from music_envs import grade_rollouts, select_best

    return grade_rollouts(select_best([pool[:num_candidates] for pool in pools], reward), oracle_score)


def _greedy(reward: RewardFunction, num_conversations: int, seed: int) -> list[float | None]:
    """Grade the conversations that the paper's Best-of-N makes of the reward's choices."""
    from music_envs import BestOfNConfig, grade_rollouts, run_best_of_n

    config = BestOfNConfig(num_candidates=GREEDY_CANDIDATES, num_turns=GREEDY_TURNS, seed=seed)
    rollouts = run_best_of_n([Conversation()] * num_conversations, **_players(), reward=reward, config=config)
    return grade_rollouts(asyncio.run(rollouts), oracle_score)


def _players() -> dict[str, Any]:
    """Return who talks in Best-of-N: an assistant of middling skill, and a user."""
    from music_agents.roles import AssistantRole, UserRole

    return {"assistant": AssistantRole(SandboxModel(CANDIDATE_SKILL)), "user": UserRole(SandboxModel())}
