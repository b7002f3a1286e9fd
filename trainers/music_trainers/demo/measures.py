"""What the demo measures of each reward model, on conversations that no model saw."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from music.conversation import Conversation
from music.pairs import PreferencePair
from music.reward.functions import RewardFunction
from music.sandbox import SandboxModel, oracle, seed_pairs
from music.sandbox.defects import GROUPS, Defect, defects
from music_agents.roles.assistant import AssistantRole
from music_agents.roles.user import UserRole
from music_envs import BestOfNConfig, Rollout, judge_rollouts, run_best_of_n, sample_pools, select_best
from music_trainers.demo.records import DemoConfig

__all__ = [
    "GREEDY_CANDIDATES",
    "NUM_CANDIDATES",
    "Measures",
    "TestSets",
    "draw_test_sets",
    "measure",
    "single_turn_margins",
]

NUM_CANDIDATES = (4, 8)
GREEDY_CANDIDATES = 4
GREEDY_TURNS = 3
CANDIDATE_SKILL = "fair"
HELD_OUT = 1_000_003
"""Added to the demo's seed, so that nothing measured was ever trained on."""


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


def draw_test_sets(config: DemoConfig) -> TestSets:
    """Draw the test sets of a demo."""
    sizes, seed = config.sizes, config.seed + HELD_OUT
    drawn: dict[tuple[str, int], list[Defect]] = {}
    for group, kinds in GROUPS.items():
        for turn in range(sizes.num_turns):
            each = (defects(kind, turn, sizes.num_turns, sizes.num_defects, seed) for kind in kinds)
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
    return Measures(
        margins={key: _margins(reward, [d.pair for d in some]) for key, some in sets.defects.items()} if pairs else {},
        single_turn=single_turn_margins(reward, sets) if pairs else [],
        whole={n: _whole(reward, sets.pools, n) for n in NUM_CANDIDATES},
        greedy=_greedy(reward, len(sets.pools), seed + HELD_OUT),
    )


def single_turn_margins(reward: RewardFunction, sets: TestSets) -> list[float]:
    """Return reward(chosen) - reward(rejected) for the single-turn pairs."""
    return _margins(reward, sets.single_turn)


def _margins(reward: RewardFunction, pairs: Sequence[PreferencePair]) -> list[float]:
    """Return reward(chosen) - reward(rejected), all scored in one call."""
    rewards = reward([pair.chosen for pair in pairs] + [pair.rejected for pair in pairs])
    return [a - b for a, b in zip(rewards[: len(pairs)], rewards[len(pairs) :], strict=True)]


def _whole(reward: RewardFunction, pools: Sequence[Sequence[Rollout]], num_candidates: int) -> list[float | None]:
    """Grade the conversations selected among the first N of each pool."""
    return judge_rollouts(select_best([pool[:num_candidates] for pool in pools], reward), oracle.score)


def _greedy(reward: RewardFunction, num_conversations: int, seed: int) -> list[float | None]:
    """Grade the conversations that the paper's Best-of-N makes of the reward's choices."""
    rollouts = run_best_of_n(
        [Conversation()] * num_conversations,
        assistant=AssistantRole(SandboxModel(CANDIDATE_SKILL)),
        user=UserRole(SandboxModel()),
        reward=reward,
        config=BestOfNConfig(num_candidates=GREEDY_CANDIDATES, num_turns=GREEDY_TURNS, seed=seed),
    )
    return judge_rollouts(asyncio.run(rollouts), oracle.score)
