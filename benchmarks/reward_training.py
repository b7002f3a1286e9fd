"""Reward-model training on the CPU: `python -m benchmarks.reward_training [--quick]`.

Prints Markdown: useful tokens per second (tokens of both sides of every pair, whether computed or shared) of

- TRL's RewardTrainer at its defaults, except that bf16 is off and its bound on lengths drops nothing here;
- a loop by hand: padded batches of pairs of about one length;
- packed rows, with and without shared prefixes.

All take an AdamW step after every 8 pairs, on the same pairs, and alternate. The loop by hand has batches as even as
sorting 512 pairs gives; the others get its pairs in random order. All times are CPU seconds. Needs `pip install trl`.

By default models and pairs are small and random. `--base FOLDER --pairs FILE ...` measures the trainer on real text
(`benchmarks.reward_real_text`).
"""

import argparse
import random
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.reward_arms import (
    PAIRS_PER_STEP,
    ROW_TOKENS,
    check_agreement,
    loop,
    packed_rewards,
    padded_rewards,
    sequences,
    sides,
    trl_trainer,
    unshared_rewards,
)
from benchmarks.reward_models import (
    FAMILIES,
    Pair,
    Timing,
    draw_pairs,
    interleave,
    make_classifier,
    pad,
    setup,
    versions,
)
from benchmarks.reward_real_text import RealText
from music.reward.packing import plan_rows
from music.reward.scoring.forward import PackedScorer

NUM_BUCKETS = 64
NUM_STEPS = 4
SHARES = ((0.55, 0.85), (0.3, 0.3), (0.0, 0.0))
TRL, PADDED, PACKED, UNSHARED = "TRL RewardTrainer", "length buckets, padded", "packed, shared", "packed, not shared"


@dataclass(frozen=True, slots=True)
class Row:
    """Both baselines and the product on one kind of pairs."""

    family: str
    shares: tuple[float, float]
    num_useful: int
    num_stored: int
    num_padded: int
    timings: dict[str, Timing]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one family, two prefix shares, two rounds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="more only where no one else uses the machine")
    parser.add_argument("--base", type=Path, help="folder of a language model, for real text")
    parser.add_argument("--pairs", type=Path, nargs="+", help="files of pairs, for real text")
    parser.add_argument("--layers", type=int, default=8, help="first layers of the base")
    parser.add_argument("--max-length", type=int, default=2_048, help="tokens of a conversation of real text")
    parser.add_argument("--steps", type=int, default=4, help="optimizer steps of a round on real text")
    options = parser.parse_args(arguments)
    if (options.base is None) != (options.pairs is None):
        parser.error("real text takes both --base and --pairs")
    torch.set_num_threads(options.threads)
    if options.base is None:
        report_random(2 if options.quick else options.rounds, quick=options.quick)
        return
    print(versions("trl", "accelerate"), f"{options.threads} thread(s), fp32, {options.layers} layers", sep="; ")
    for file in options.pairs:
        text = RealText(options.base, file, options.layers, options.max_length, options.steps, options.rounds)
        print()
        for line in text.report():
            print(line, flush=True)


def report_random(num_rounds: int, *, quick: bool) -> None:
    """Print the report on random models and pairs."""
    print(setup("trl", "accelerate"), end="\n\n")
    for family in FAMILIES[:1] if quick else FAMILIES:
        for shares in (SHARES[0], SHARES[-1]) if quick else SHARES:
            print("\n".join(render(measure(family, shares, num_rounds))), end="\n\n", flush=True)


def measure(family: str, shares: tuple[float, float], num_rounds: int) -> Row:
    """Time all contenders on one set of pairs."""
    buckets = draw_buckets(shares)
    pairs = [pair for bucket in buckets for pair in bucket]
    random.Random(0).shuffle(pairs)
    batches = [pairs[i : i + PAIRS_PER_STEP] for i in range(0, len(pairs), PAIRS_PER_STEP)]
    model = make_classifier(family)
    check_agreement(model, batches[0])
    with TemporaryDirectory() as scratch:
        contenders = {
            TRL: trl_trainer(deepcopy(model), pairs, scratch, bf16=False, use_cpu=True).train,
            PADDED: loop(deepcopy(model), buckets, padded_rewards),
            PACKED: loop(PackedScorer(deepcopy(model)), batches, packed_rewards),
            UNSHARED: loop(PackedScorer(deepcopy(model)), batches, unshared_rewards),
        }
        timings = interleave(contenders, num_rounds)
    plans = [plan_rows(sequences(batch), ROW_TOKENS) for batch in batches]
    num_padded = sum(pad(sides(bucket))["input_ids"].numel() for bucket in buckets)
    num_useful = sum(plan.num_sequence_tokens for plan in plans)
    return Row(family, shares, num_useful, sum(plan.num_tokens for plan in plans), num_padded, timings)


def draw_buckets(shares: tuple[float, float]) -> list[list[Pair]]:
    """Return 4 of 64 batches of pairs that are about equally long, from the shortest to the longest."""
    pairs = sorted(draw_pairs(NUM_BUCKETS * PAIRS_PER_STEP, shares, seed=0), key=lambda pair: max(map(len, pair)))
    starts = range(NUM_BUCKETS // NUM_STEPS // 2, NUM_BUCKETS, NUM_BUCKETS // NUM_STEPS)
    return [pairs[i * PAIRS_PER_STEP : (i + 1) * PAIRS_PER_STEP] for i in starts]


def render(row: Row) -> Iterator[str]:
    """Return one table as Markdown."""
    low, high = row.shares
    yield (
        f"{row.family}, prefix share {low}-{high}: {row.num_useful:,} useful tokens, {row.num_stored:,} in packed "
        f"rows, {row.num_padded:,} in padded buckets"
    )
    yield ""
    yield "| | useful tokens/s | rounds | x TRL | x padded buckets |"
    yield "|---|---|---|---|---|"
    for name, timing in row.timings.items():
        ratios = (timing.times_faster(row.timings[baseline]) for baseline in (TRL, PADDED))
        yield f"| {name} | {timing.rate(row.num_useful)} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |"


if __name__ == "__main__":
    main()
