"""What each contrast teaches a reward model: `python -m benchmarks.contrasts --quick`.

Each arm trains the shipped starting model, with the demo's recipe and sizes, on the same base pairs and on simulated
pairs of one contrast or one mixture. All arms share their seed contexts, users and test sets. Prints Markdown with 95 %
intervals:

- models: how often a model ranks a flawless conversation above the same one with an error, by group of errors, before
  the last turn and in it; accuracy on single turns; the oracle's grade of the selected conversation among 8;
- training pairs: how often the oracle agrees with the label, the accuracy of the hop shortcut (fewer changes of topic
  and aspect between replies win, without reading the user; a tie counts half), and how much longer chosen replies are.

The intervals cover the test sets, not the draw of the training pairs or weights: `--seeds 0 1` pools two runs.
"""

import argparse
import asyncio
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.contrast_tables import PairFigures, Result, print_tables
from music.conversation import Conversation
from music.pairs import ContrastivePair, PreferencePair
from music.reward.functions import RewardFunction
from music.sandbox import SandboxModel, oracle_score, seed_pairs
from music.sandbox.artifacts import REWARD_MODEL
from music.sandbox.world.defects import draw_defects
from music.sandbox.world.language import read_reply
from music.sandbox.world.oracle import ErrorKind
from music_agents.contrasts import Schedule, make_contrast, parse_mix
from music_agents.graph import build_pair_graph
from music_agents.roles import AssistantRole, RoleSet, UserRole
from music_agents.simulation import simulate
from music_envs import grade_rollouts, select_best
from music_trainers.arms import HELD_OUT, TestSets, draw_test_sets, single_turn_margins, train_arm, use_one_thread
from music_trainers.demo import FULL, QUICK, DemoSizes

START = "no further training"
LAST_TURN = "instruction, last turn only"
PAPER = "instruction"
ARMS = {
    START: "",
    LAST_TURN: "instruction",
    PAPER: "instruction",
    "instruction_two_call": "instruction_two_call",
    "drop_constraint": "drop_constraint",
    "persona_swap": "persona_swap",
    "forget(turns=1)": "forget(turns=1)",
    "forget(turns=2)": "forget(turns=2)",
    "stale": "stale",
    "weaker_model": "weaker_model",
    "instruction + drop_constraint": "instruction,drop_constraint",
    "instruction + 3 drop_constraint": "instruction=1,drop_constraint=3",
    "instruction + persona_swap": "instruction,persona_swap",
    "instruction + drop_constraint + forget": "instruction=2,drop_constraint=1,forget(turns=2)=1",
    "instruction + persona_swap + forget": "instruction=2,persona_swap=1,forget(turns=2)=1",
    "all four": "instruction=2,drop_constraint=1,persona_swap=1,forget(turns=2)=1",
}
"""Name and mixture of each arm."""
NUM_CANDIDATES = 8


def main() -> None:
    """Run all arms and print the tables."""
    parser = argparse.ArgumentParser(description="What each contrast teaches")
    parser.add_argument("--quick", action="store_true", help="everything once and small; the figures mean nothing")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one run each; their test sets are pooled")
    parser.add_argument("--processes", type=int, default=2, help="arms at a time, one thread each")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS), metavar="ARM", help="by name")
    options = parser.parse_args()
    sizes = QUICK if options.quick else FULL
    by_arm: dict[str, list[Result]] = {arm: [] for arm in options.arms}
    for seed in options.seeds:
        sets = draw_sets(sizes, seed)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.processes, mp_context=context, initializer=use_one_thread) as pool:
            futures = [pool.submit(run_arm, arm, sizes, seed, sets) for arm in options.arms]
            for future in futures:
                result = future.result()
                by_arm[result.arm].append(result)
                print(f"seed {seed}, {result.arm}: {result.seconds:.0f} s", flush=True)
    shown = ", ".join(f"{name} {value}" for name, value in sizes.model_dump().items())
    print(f"\nSeeds {' '.join(map(str, options.seeds))}; {shown}.\n")
    print_tables(by_arm, PAPER, sizes.num_turns)


def draw_sets(sizes: DemoSizes, seed: int) -> TestSets:
    """Draw the demo's test sets and defects of recollection."""
    sets = draw_test_sets(sizes, seed)
    recalls = {
        ("recollection", turn): draw_defects(
            ErrorKind.RECOLLECTION, turn, sizes.num_turns, 2 * sizes.num_defects, seed + HELD_OUT
        )
        for turn in range(1, sizes.num_turns)
    }
    return replace(sets, defects=sets.defects | recalls)


def run_arm(arm: str, sizes: DemoSizes, seed: int, sets: TestSets) -> Result:
    """Simulate, train and measure one arm."""
    from music.reward import RewardModel

    began = time.perf_counter()
    pairs = asyncio.run(simulated(arm, sizes, seed)) if ARMS[arm] else []
    with TemporaryDirectory() as scratch:
        if pairs:
            train_arm([*seed_pairs(sizes.num_base_pairs, seed + 1), *pairs], Path(scratch), seed)
        model = RewardModel.from_pretrained(scratch if pairs else REWARD_MODEL)
        margins = {key: _margins(model, [d.pair for d in some]) for key, some in sets.defects.items()}
        graded = grade_rollouts(select_best([pool[:NUM_CANDIDATES] for pool in sets.pools], model), oracle_score)
        single = single_turn_margins(model, sets)
    grades = [grade for grade in graded if grade is not None]
    figures = pair_figures(pairs) if pairs else None
    return Result(arm, margins, single, grades, figures, time.perf_counter() - began)


async def simulated(arm: str, sizes: DemoSizes, seed: int) -> list[ContrastivePair]:
    """Simulate an arm's pairs as `music simulate` does, but without a server."""
    model = SandboxModel("good", seed)
    models = {"contrast": model, "weaker": SandboxModel("weak", seed)}
    roles = RoleSet(user=UserRole(model), assistant=AssistantRole(model), models=models)
    schedule = Schedule.parse("last" if arm == LAST_TURN else "all")
    contrast = make_contrast(parse_mix(ARMS[arm]), roles, schedule)
    graph = build_pair_graph(replace(roles, contrast=contrast))
    num = sizes.num_contrastive_pairs
    seeds = seed_pairs(num, seed, single_turn_share=1.0)
    outcomes = simulate(seeds, graph, num_pairs=num, num_turns=sizes.num_turns, seed=seed)
    async with aclosing(outcomes):
        pairs = [outcome async for outcome in outcomes if isinstance(outcome, ContrastivePair)]
    return sorted(pairs, key=lambda pair: pair.id)


def pair_figures(pairs: Sequence[ContrastivePair]) -> PairFigures:
    """Measure the training pairs themselves."""
    sides = [(pair.chosen, pair.rejected) for pair in pairs]
    words = [[_num_words(side, pair.num_seed_messages) for side in (pair.chosen, pair.rejected)] for pair in pairs]
    return PairFigures(
        num_calls=[float(pair.usage.num_calls) for pair in pairs],
        oracle_agrees=[_prefers(*oracle_score(two)) for two in sides],
        hop_shortcut=[_prefers(-num_hops(chosen), -num_hops(rejected)) for chosen, rejected in sides],
        length_gap=[chosen / rejected - 1 for chosen, rejected in words],
    )


def num_hops(conversation: Conversation) -> int:
    """Count the changes of topic or aspect from one reply with tips to the next."""
    replies = [read_reply(m.content).tips for m in conversation.messages if m.role == "assistant"]
    tips = [items[0] for items in replies if items]
    return sum((a.topic != b.topic) + (a.aspect != b.aspect) for a, b in pairwise(tips))


def _margins(reward: RewardFunction, pairs: Sequence[PreferencePair]) -> list[float]:
    """Return reward(chosen) - reward(rejected), all scored in one call."""
    rewards = reward([pair.chosen for pair in pairs] + [pair.rejected for pair in pairs])
    return [a - b for a, b in zip(rewards[: len(pairs)], rewards[len(pairs) :], strict=True)]


def _num_words(conversation: Conversation, num_seed_messages: int) -> int:
    """Count the words of the simulated replies."""
    return sum(len(m.content.split()) for m in conversation.messages[num_seed_messages:] if m.role == "assistant")


def _prefers(first: float, second: float) -> float:
    """Return 1 if the first is higher, 0 if the second is, and 0.5 for a tie."""
    return 0.5 if first == second else float(first > second)


if __name__ == "__main__":
    main()
