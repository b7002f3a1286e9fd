"""Which readout to train with, and which to read with: `python -m benchmarks.readouts --quick`.

Each arm trains the shipped starting model, with the demo's recipe, on the same pairs (those of the default mixture of
`music simulate`, and base pairs), but with another objective: the reward at the end, the mean of the rewards after each
turn, or the reward at the end with an additional loss per turn. Every model is then read in both ways on the demo's
test sets. Prints Markdown with 95 % intervals:

- how often a model ranks a flawless conversation above the same one with an error, by group of errors, before the last
  turn (early) and in it; accuracy on single turns; the oracle's grade of the selected conversation among 8, and of a
  conversation chosen reply by reply among 4 each (greedy);
- paired differences. Bold: the interval excludes 0, and every seed has that sign; all others count as noise.

The intervals cover the test sets, not the draw of training pairs and weights; each seed is one such draw.
"""

import argparse
import asyncio
import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.contrast_tables import print_row, show, show_accuracy
from benchmarks.contrasts import simulated
from music.pairs import PreferencePair
from music.reward.tokens.contract import Readout
from music.sandbox import seed_pairs
from music.sandbox.artifacts import REWARD_MODEL
from music.sandbox.world.defects import ERROR_GROUPS
from music.statistics import mean, paired_difference
from music_trainers.arms import (
    GREEDY_CANDIDATES,
    Measures,
    TestSets,
    draw_test_sets,
    measure,
    train_arm,
    use_one_thread,
)
from music_trainers.demo import FULL, QUICK, DemoSizes
from music_trainers.reward.config import Objective

MIXTURE = "instruction + drop_constraint"
"""The default mixture, as `benchmarks.contrasts` names it."""
START, BASE, LAST, MEAN = "no further training", "base pairs only, last", "last", "turn_mean"
ARMS = {
    START: None,
    BASE: Objective(),
    LAST: Objective(),
    MEAN: Objective(readout="turn_mean"),
    "last, per_turn 0.3": Objective(per_turn=0.3),
    "last, per_turn 1": Objective(per_turn=1.0),
}
READOUTS: tuple[Readout, ...] = ("last", "turn_mean")
SPANS = ("early", "last")
WHOLE, GREEDY = "Best-of-8", f"greedy Best-of-{GREEDY_CANDIDATES}"
GRADES = (WHOLE, GREEDY)
COLUMNS = (*(f"{group}, {span}" for group in ERROR_GROUPS for span in SPANS), "single turns", *GRADES)
CHANGED_BY_READING = (*(f"{group}, early" for group in ERROR_GROUPS), WHOLE)
"""The other columns compare conversations with the same turns before the last, which both readouts rank equally."""

Figures = dict[str, list[float]]
"""By column: for each pair whether it was ranked correctly, for each conversation its grade."""
Model = tuple[str, Readout]
"""The arm, and the readout."""


@dataclass(frozen=True, slots=True)
class Trained:
    """One arm of one seed.

    Attributes:
        by_readout: The measures of each readout.
        training_seconds: Duration of training alone.
        measuring_seconds: Duration of measuring with each readout.
    """

    by_readout: dict[Readout, Figures]
    training_seconds: float
    measuring_seconds: dict[Readout, float]


def main() -> None:
    """Run all arms and print the tables."""
    parser = argparse.ArgumentParser(description="Which readout to train with, and which to read with")
    parser.add_argument("--quick", action="store_true", help="everything once and small; the figures mean nothing")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one run each; their test sets are pooled")
    parser.add_argument("--processes", type=int, default=2, help="arms at a time, one thread each")
    options = parser.parse_args()
    sizes = QUICK if options.quick else FULL
    results: dict[Model, list[Figures]] = {(arm, readout): [] for arm in ARMS for readout in READOUTS}
    for seed in options.seeds:
        for arm, trained in run_seed(sizes, seed, options.processes):
            shown = ", ".join(f"measured by {name} {s:.0f} s" for name, s in trained.measuring_seconds.items())
            print(f"seed {seed}, {arm}: trained {trained.training_seconds:.0f} s, {shown}", flush=True)
            for readout, figures in trained.by_readout.items():
                results[arm, readout].append(figures)
    shown = ", ".join(f"{name} {value}" for name, value in sizes.model_dump().items())
    print(f"\nSeeds {' '.join(map(str, options.seeds))}; {shown}.\n")
    print_figures(results)
    print_differences(results)


def run_seed(sizes: DemoSizes, seed: int, num_processes: int) -> Iterator[tuple[str, Trained]]:
    """Simulate once, then train and measure all arms."""
    sets = draw_test_sets(sizes, seed)
    base = seed_pairs(sizes.num_base_pairs, seed + 1)
    contrastive = asyncio.run(simulated(MIXTURE, sizes, seed))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_processes, mp_context=context, initializer=use_one_thread) as pool:
        futures = {
            arm: pool.submit(run_arm, objective, base if arm == BASE else [*base, *contrastive], sets, seed)
            for arm, objective in ARMS.items()
        }
        for arm, future in futures.items():
            yield arm, future.result()


def run_arm(objective: Objective | None, pairs: Sequence[PreferencePair], sets: TestSets, seed: int) -> Trained:
    """Train, unless there is no objective, and measure with every readout."""
    from music.reward import RewardModel

    clock = [time.perf_counter()]
    with TemporaryDirectory() as scratch:
        if objective:
            train_arm(pairs, Path(scratch), seed, objective)
        model = RewardModel.from_pretrained(scratch if objective else REWARD_MODEL)
    clock.append(time.perf_counter())
    by_readout: dict[Readout, Figures] = {}
    for readout in READOUTS:
        by_readout[readout] = figures_of(measure(model.with_readout(readout), sets, seed))
        clock.append(time.perf_counter())
    seconds = [after - before for before, after in pairwise(clock)]
    return Trained(by_readout, seconds[0], dict(zip(READOUTS, seconds[1:], strict=True)))


def figures_of(measures: Measures) -> Figures:
    """Return the columns of the tables."""
    last = max(turn for _, turn in measures.margins)
    figures: Figures = {column: [] for column in COLUMNS}
    for (group, turn), margins in measures.margins.items():
        figures[f"{group}, {SPANS[turn == last]}"] += [float(margin > 0) for margin in margins]
    figures["single turns"] = [float(margin > 0) for margin in measures.single_turn]
    graded = {WHOLE: measures.whole[8], GREEDY: measures.greedy}
    assert all(grade is not None for grades in graded.values() for grade in grades), (
        "the sandbox finishes every rollout"
    )
    return figures | {column: [grade or 0.0 for grade in grades] for column, grades in graded.items()}


def print_figures(results: Mapping[Model, Sequence[Figures]]) -> None:
    """Print the figures of each model."""
    _print_head("Each model by itself", "trained with", "read with", *COLUMNS)
    for (arm, readout), by_seed in results.items():
        pooled = {column: list(chain.from_iterable(f[column] for f in by_seed)) for column in COLUMNS}
        cells = [show(mean(v), 3) if column in GRADES else show_accuracy(v) for column, v in pooled.items()]
        print_row(arm, readout, *cells)


def print_differences(results: Mapping[Model, Sequence[Figures]]) -> None:
    """Print the effect of the other readout on each model, and of the other objectives for each readout."""
    _print_head("Read with turn_mean, less read with last", "trained with", *CHANGED_BY_READING)
    for arm in ARMS:
        print_row(arm, *_differences(results[arm, "turn_mean"], results[arm, "last"], CHANGED_BY_READING))
    _print_head("Trained otherwise, less trained with last", "trained with", "both read with", *COLUMNS)
    for readout in READOUTS:
        for arm in (arm for arm in ARMS if arm != LAST):
            cells = _differences(results[arm, readout], results[LAST, readout], COLUMNS)
            print_row(arm, readout, *cells)
    as_trained = _differences(results[MEAN, "turn_mean"], results[LAST, "last"], COLUMNS)
    print_row(MEAN, "what each was trained with", *as_trained)


def _differences(first: Sequence[Figures], second: Sequence[Figures], columns: Sequence[str]) -> list[str]:
    """Return the paired difference in each column, bold if it is beyond noise."""
    return [_difference([f[name] for f in first], [f[name] for f in second], 2 + (name in GRADES)) for name in columns]


def _difference(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], digits: int) -> str:
    """Return the pooled difference of values by seed."""
    pooled = paired_difference(list(chain(*first)), list(chain(*second)))
    gains = [sum(ours) - sum(theirs) for ours, theirs in zip(first, second, strict=True)]
    text = show(pooled, digits, sign="+")
    return f"**{text}**" if not pooled.includes(0) and all(gain * pooled.value > 0 for gain in gains) else text


def _print_head(title: str, *names: str) -> None:
    """Print the head of a table."""
    print(f"\n{title}:\n")
    print_row(*names)
    print_row(*["---"] * len(names))


if __name__ == "__main__":
    main()
