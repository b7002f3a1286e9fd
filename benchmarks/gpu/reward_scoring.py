"""Scoring at Gemma-2-9B's shape on one card: `python -m benchmarks.gpu.reward_scoring`.

Prints Markdown: the model FLOPs of packed rows divided by the card's own bf16 matrix product, and candidates per
second, with 16 candidates per history and histories four times as long, compared with a padded batch through
transformers' own attention and with packed rows that share nothing. Needs torch, transformers and the root of this
repository as the working directory. `--small` runs it anywhere.
"""

import argparse
import random
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks.gpu.card import Card, compile_layers, forward_flops, make_classifier, shape
from benchmarks.reward_arms import sequences
from benchmarks.reward_models import draw_ids, draw_pairs, pad
from music.reward.packing import PackedRow, TokenSequence, plan_rows
from music.reward.scoring.forward import PackedScorer

NUM_CANDIDATES = 16
TIMES_AS_LONG = 4


@torch.no_grad()
def main() -> None:
    """Run the benchmark and print its report."""
    options = parse()
    card = Card.measure()
    model = make_classifier(shape(options.small, options.layers), card.device).eval()
    candidates = draw_candidates(16 if options.small else options.completion)
    # transformers' own attention comes first: the scorer gives the model another one, for good.
    padded = time_padded(card, model, candidates, options.rounds)
    if options.compile:
        compile_layers(model)
    scorer = PackedScorer(model, options.backend)
    print(f"{card}; attention by {scorer.backend}\n")
    render_utilisation(card, scorer, options)
    print()
    render_candidates(card, scorer, candidates, padded, options.rounds)


def parse() -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a tiny model; the figures mean nothing")
    parser.add_argument("--layers", type=int, help="fewer than Gemma-2-9B's 42")
    parser.add_argument("--backend", help="of attention: gather, flex or varlen; the fastest by default")
    parser.add_argument("--compile", action="store_true", help="torch.compile each layer")
    parser.add_argument("--completion", type=int, default=512, help="tokens of each candidate")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def draw_candidates(num_tokens: int) -> list[list[int]]:
    """Return whole conversations that share their history."""
    rng = random.Random(0)
    history = draw_ids(rng, TIMES_AS_LONG * num_tokens)
    return [history + draw_ids(rng, num_tokens) for _ in range(NUM_CANDIDATES)]


def time_padded(card: Card, model: Any, candidates: Sequence[list[int]], num_rounds: int) -> str | float:
    """Return the seconds of a padded batch, or a note that the card's memory is too small."""
    inputs = {name: tensor.to(card.device) for name, tensor in pad(candidates).items()}
    try:
        return min(card.seconds(lambda: model(**inputs, use_cache=False), num_rounds))
    except torch.OutOfMemoryError:
        return "out of memory"


def render_utilisation(card: Card, scorer: PackedScorer, options: argparse.Namespace) -> None:
    """Print the share of the peak that packed rows of many conversations reach."""
    print("| row tokens | tokens/s | of the peak (target 60 %) | GB |")
    print("|---|---|---|---|")
    median, lengths = (40, (256, 512)) if options.small else (800, (4_096, 8_192, 16_384))
    for max_tokens in lengths:
        pairs = draw_pairs(16 * max_tokens // median, (0.0, 0.0), seed=0, median=median)
        rows = plan_rows(sequences(pairs), max_tokens).rows[:4]
        run = score_all(scorer, rows)
        seconds = min(card.seconds(run, options.rounds))
        share = forward_flops(scorer.classifier.config, rows) / seconds / card.peak
        rate = sum(row.num_tokens for row in rows) / seconds
        print(f"| {max_tokens} | {rate:,.0f} | {share:.0%} | {card.peak_memory(run)} |", flush=True)


def render_candidates(
    card: Card, scorer: PackedScorer, candidates: Sequence[list[int]], padded: str | float, num_rounds: int
) -> None:
    """Print candidates per second by each way."""
    group = [TokenSequence.read_at_end(ids) for ids in candidates]
    shared = plan_rows([group], max_tokens=1).rows
    alone = plan_rows([[sequence] for sequence in group], max_tokens=8 * len(candidates[0])).rows
    seconds = [min(card.seconds(score_all(scorer, rows), num_rounds)) for rows in (shared, alone)]
    ways = {"packed, history once": seconds[0], "packed, not shared": seconds[1], "padded batch": padded}
    print(f"{len(candidates)} candidates of {len(candidates[0])} tokens with their history:\n")
    print("| | candidates/s | packed, history once, is so many times as fast (target 3 over the padded batch) |")
    print("|---|---|---|")
    for name, taken in ways.items():
        if isinstance(taken, str):
            print(f"| {name} | not measured: {taken} | |")
        else:
            print(f"| {name} | {len(candidates) / taken:,.1f} | {taken / seconds[0]:.2f} |")


def score_all(scorer: PackedScorer, rows: Sequence[PackedRow]) -> Callable[[], None]:
    """Return a function that scores all rows."""

    def run() -> None:
        for row in rows:
            scorer(row)

    return run


if __name__ == "__main__":
    main()
