"""What is measured of each reward model, on conversations that no model saw."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from music.conversation import Conversation
from music.pairs import PreferencePair
from music.reward.functions import RewardFunction
from music.reward.tokens.contract import Readout
from music.sandbox import SandboxModel, oracle_score, seed_pairs
from music.sandbox.world.defects import ERROR_GROUPS, Defect, draw_defects
from music.sandbox.world.oracle import ErrorKind
from music_agents.roles.model_roles import AssistantRole, UserRole
from music_envs import BestOfNConfig, Rollout, grade_rollouts, run_best_of_n, sample_pools, select_best

if TYPE_CHECKING:
    from music.reward import RewardModel

__all__ = [
    "GREEDY_CANDIDATES",
    "NUM_CANDIDATES",
    "Measures",
    "TestSets",
    "TestSizes",
    "draw_test_sets",
    "measure",
    "measure_readouts",
    "single_turn_margins",
]

NUM_CANDIDATES = (4, 8)
GREEDY_CANDIDATES = 4
GREEDY_TURNS = 3
CANDIDATE_SKILL = "fair"
HELD_OUT = 1_000_003
"""Added to the seed of what is measured, so that none of it was ever trained on."""


class TestSizes(BaseModel):
    """How much is measured."""

    __test__ = False  # no class of tests
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

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
    pools: list[list[Rollout]]


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


def draw_test_sets(sizes: TestSizes, seed: int, groups: Mapping[str, Sequence[ErrorKind]] = ERROR_GROUPS) -> TestSets:
    """Draw the test sets.

    Args:
        sizes: How much of each.
        seed: Draws them.
        groups: Kinds of errors by the name that their margins are kept under.
    """
    seed += HELD_OUT
    drawn: dict[tuple[str, int], list[Defect]] = {}
    for group, kinds in groups.items():
        # Nothing can be recalled in the first turn.
        for turn in range(int(ErrorKind.RECOLLECTION in kinds), sizes.num_turns):
            each = (draw_defects(kind, turn, sizes.num_turns, sizes.num_defects, seed) for kind in kinds)
            drawn[group, turn] = [defect for some in each for defect in some]
    pools = sample_pools(
        [Conversation()] * sizes.num_conversations,
        assistant=AssistantRole(SandboxModel(CANDIDATE_SKILL)),
        user=UserRole(SandboxModel()),
        config=BestOfNConfig(num_candidates=max(NUM_CANDIDATES), num_turns=sizes.num_turns, seed=seed),
    )
    single = seed_pairs(sizes.num_single_turn, seed, single_turn_share=1.0, label_noise=False)
    return TestSets(drawn, single, asyncio.run(pools))


def measure(reward: RewardFunction, sets: TestSets, seed: int, *, pairs: bool = True) -> Measures:
    """Measure a reward function; `pairs` is off for selectors whose ranking of pairs is of no interest."""
    return _measured(reward, sets, _greedy(reward, len(sets.pools), seed + HELD_OUT), pairs=pairs)


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
    return {name: _measured(_Known(rewards), sets, greedy) for name, rewards in known.items()}


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


@dataclass(frozen=True, slots=True)
class _Known:
    """A reward function over conversations that were scored before."""

    rewards: Mapping[Conversation, float]

    def __call__(self, conversations: Sequence[Conversation]) -> list[float]:
        return [self.rewards[conversation] for conversation in conversations]


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


def _whole(reward: RewardFunction, pools: Sequence[Sequence[Rollout]], num_candidates: int) -> list[float | None]:
    """Grade the conversations selected among the first N of each pool."""
    return grade_rollouts(select_best([pool[:num_candidates] for pool in pools], reward), oracle_score)


def _greedy(reward: RewardFunction, num_conversations: int, seed: int) -> list[float | None]:
    """Grade the conversations that the paper's Best-of-N makes of the reward's choices."""
    rollouts = run_best_of_n(
        [Conversation()] * num_conversations,
        assistant=AssistantRole(SandboxModel(CANDIDATE_SKILL)),
        user=UserRole(SandboxModel()),
        reward=reward,
        config=BestOfNConfig(num_candidates=GREEDY_CANDIDATES, num_turns=GREEDY_TURNS, seed=seed),
    )
    return grade_rollouts(asyncio.run(rollouts), oracle_score)
