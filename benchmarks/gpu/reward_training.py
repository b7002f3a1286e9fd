"""Full fine-tuning at Gemma-2-9B's shape on one card: `python -m benchmarks.gpu.reward_training`.

Prints Markdown for rows of 4k and 8k tokens and layers with recomputed activations: tokens per second, model FLOPs
(without recomputation) divided by the card's own bf16 matrix product, and peak memory. TRL's trainer at its defaults
runs on the same pairs, or a padded loop with transformers' own attention if trl is not installed. Needs torch,
transformers and the root of this repository as the working directory. `--small` runs it anywhere.
"""

import argparse
import gc
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.card import Card, compile_layers, forward_flops, make_classifier, shape
from benchmarks.reward_arms import sequences, sides, trl_trainer
from benchmarks.reward_models import Pair, draw_pairs, pad
from music.reward.packing import PackedRow, plan_rows
from music.reward.scoring.forward import PackedScorer
from music_trainers.precision.adamw import make_optimizer
from music_trainers.precision.policy import StatesPolicy

SHARES = (0.55, 0.85)
LEARNING_RATE = 2e-6
NO_ROOM = "out of memory"


def main() -> None:
    """Run the benchmark and print its report."""
    options = parse()
    card = Card.measure()
    print(f"{card}\n{options.states}, {options.rows} rows a step, prefix share {SHARES[0]}-{SHARES[1]}\n")
    print("| row tokens | layers recomputed | s/step | tokens/s | useful tokens/s | of the peak (50 %) | GB (120) |")
    print("|---|---|---|---|---|---|---|")
    for max_tokens in (256, 512) if options.small else (4_096, 8_192):
        pairs, rows = draw_rows(max_tokens, options.rows, 40 if options.small else 800)
        for num_recomputed in recomputed(options):
            print(attempt(packed, options, card, rows, num_recomputed), flush=True)
        print(attempt(baseline, options, card, pairs), flush=True)


def parse() -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a tiny model and short rows; the figures mean nothing")
    parser.add_argument("--layers", type=int, help="fewer than Gemma-2-9B's 42")
    parser.add_argument("--backend", help="of attention: gather, flex or varlen; the fastest by default")
    parser.add_argument("--compile", action="store_true", help="torch.compile each layer")
    parser.add_argument("--recompute", type=int, nargs="+", help="numbers of layers; none, half and all by default")
    parser.add_argument("--states", type=StatesPolicy, default=StatesPolicy.BF16_STOCHASTIC_8BIT, help="AdamW's")
    parser.add_argument("--rows", type=int, default=4, help="a step")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def recomputed(options: argparse.Namespace) -> Sequence[int]:
    """Return the numbers of layers to compute again in the backward pass."""
    num_layers: int = shape(options.small, options.layers)["num_hidden_layers"]
    return options.recompute or (0, num_layers // 2, num_layers)


def draw_rows(max_tokens: int, num_rows: int, median: int) -> tuple[list[Pair], list[PackedRow]]:
    """Return the fullest rows of many pairs that each fit a row, and their pairs."""
    drawn = draw_pairs(2 * num_rows * max_tokens // median, SHARES, seed=0, median=median)
    pairs = [pair for pair in drawn if sum(map(len, pair)) <= max_tokens]
    rows = plan_rows(sequences(pairs), max_tokens).rows[:num_rows]
    return [pairs[group] for row in rows for group in row.groups], list(rows)


def attempt(measure: Any, *arguments: Any) -> str:
    """Return a table's row, or a note that the card's memory is too small."""
    try:
        return str(measure(*arguments))
    except torch.OutOfMemoryError:
        return f"| {measure.__name__} {arguments[-1] if measure is packed else ''} | {NO_ROOM} | | | | | |"
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def packed(options: argparse.Namespace, card: Card, rows: Sequence[PackedRow], num_recomputed: int) -> str:
    """Time optimizer steps over packed rows."""
    model = make_classifier(shape(options.small, options.layers), card.device).train()
    recompute(model, num_recomputed)
    if options.compile:
        compile_layers(model)
    scorer = PackedScorer(model, options.backend)
    optimizer = make_optimizer(model.parameters(), options.states, lr=LEARNING_RATE)

    def step() -> None:
        for row in rows:
            backward(scorer(row).view(-1, 2), sum(len(row.groups) for row in rows))
        optimizer.step()
        optimizer.zero_grad()

    seconds = min(card.seconds(step, options.rounds))
    num_tokens = sum(row.num_tokens for row in rows)
    num_useful = sum(position + 1 for row in rows for tree in row.trees for (position,) in tree.reads)
    share = 3 * forward_flops(model.config, rows) / seconds / card.peak
    rates = f"{seconds:.2f} | {num_tokens / seconds:,.0f} | {num_useful / seconds:,.0f} | {share:.0%}"
    length = max(row.num_tokens for row in rows)
    return f"| {length} ({scorer.backend}) | {num_recomputed} | {rates} | {card.peak_memory(step)} |"


def recompute(model: Any, num_layers: int) -> None:
    """Compute some evenly spread layers again in the backward pass."""
    if num_layers:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        layers = model.model.layers
        for index, layer in enumerate(layers):
            is_chosen = (index + 1) * num_layers // len(layers) > index * num_layers // len(layers)
            layer.gradient_checkpointing = is_chosen


def backward(rewards: Tensor, num_pairs: int) -> None:
    """Add the gradient of the pairs' part of the mean loss; rewards are `[pairs, 2]`."""
    chosen, rejected = rewards.float().unbind(1)
    (-nn.functional.logsigmoid(chosen - rejected).sum() / num_pairs).backward()  # type: ignore[no-untyped-call]


def baseline(options: argparse.Namespace, card: Card, pairs: Sequence[Pair]) -> str:
    """Time TRL's trainer, or the padded loop, on the same pairs, two at a time."""
    model = make_classifier(shape(options.small, options.layers), card.device).train()
    num_useful = sum(map(len, sides(pairs)))
    if find_spec("trl") is None:
        step, name = padded_step(options, model, pairs), "padded, transformers' attention (trl is not installed)"
        recompute(model, model.config.num_hidden_layers)
        return render_baseline(name, min(card.seconds(step, options.rounds)), num_useful, card.peak_memory(step))
    with TemporaryDirectory() as scratch:
        settings = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": -(-len(pairs) // 2)}
        trainer = trl_trainer(model, pairs, scratch, use_cpu=card.device.type == "cpu", **settings)
        seconds = min(card.seconds(trainer.train, options.rounds))
        return render_baseline("TRL RewardTrainer", seconds, num_useful, card.peak_memory(trainer.train))


def render_baseline(name: str, seconds: float, num_useful: int, memory: str) -> str:
    """Return a baseline's row of the table."""
    return f"| {name} | all | {seconds:.2f} | | {num_useful / seconds:,.0f} | | {memory} |"


def padded_step(options: argparse.Namespace, model: Any, pairs: Sequence[Pair]) -> Any:
    """Return an optimizer step over padded batches."""
    optimizer = make_optimizer(model.parameters(), options.states, lr=LEARNING_RATE)

    def step() -> None:
        for rewards in padded_batches(model, pairs):
            backward(rewards, len(pairs))
        optimizer.step()
        optimizer.zero_grad()

    return step


def padded_batches(model: Any, pairs: Sequence[Pair]) -> Iterator[Tensor]:
    """Yield the rewards of two pairs at a time, `[pairs, 2]`."""
    for start in range(0, len(pairs), 2):
        some = pairs[start : start + 2]
        inputs = {name: tensor.to(model.device) for name, tensor in pad(sides(some)).items()}
        yield model(**inputs, use_cache=False).logits.view(2, len(some)).T


if __name__ == "__main__":
    main()
