"""Frozen backbones: `python -m benchmarks.frozen --base FOLDER --pairs FILE`.

Hidden states of conversations and their turns, which are computed, hashed and written to disk, beside the rewards of
the same turns by `RewardModel.score_turns`, in turns; and heads for 10,000 pairs whose features are random, correlated
and of very different sizes, with a given ridge and with the choice of one. All figures are CPU seconds.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch

from music.conversation import Conversation
from music.preferences import read_preferences
from music.reward import RewardModel
from music.reward.loading import load_checkpoint
from music_trainers.frozen import Comparisons, FrozenBackbone, choose_ridge, fit_heads
from music_trainers.frozen.head import Array


def measure_states(base: str, conversations: Sequence[Conversation], num_rounds: int) -> Iterator[str]:
    """Yield a table of the speed of hidden states beside that of rewards."""
    loaded = load_checkpoint(base, dtype=torch.float32, head_seed=0)
    model = RewardModel(loaded.classifier, loaded.tokens)
    seconds: list[tuple[float, float]] = []
    for number in range(num_rounds):
        with TemporaryDirectory() as folder:
            backbone = FrozenBackbone(loaded, Path(folder), device=str(model.device))
            contenders = [partial(score, conversations) for score in (model.score_turns, backbone.turns)]
            order = [0, 1] if number % 2 == 0 else [1, 0]
            took = {index: _seconds(contenders[index]) for index in order}
        seconds.append((took[0], took[1]))
    tokens = loaded.tokens.encode_all(conversations)
    yield f"{len(conversations)} conversations, {sum(len(each.ids) for each in tokens):,} tokens"
    yield ""
    yield "| | CPU s | of the engine's speed (target 0.90) |"
    yield "|---|---|---|"
    yield f"| `RewardModel.score_turns` | {median(engine for engine, _ in seconds):.2f} | 1.00 |"
    ratio = median(engine / ours for engine, ours in seconds)
    yield f"| hidden states, written to disk | {median(ours for _, ours in seconds):.2f} | {ratio:.2f} |"


def measure_fits(num_pairs: int, num_features: int) -> Iterator[str]:
    """Yield a table of the time of fits."""
    comparisons = Comparisons.of(_differences(num_pairs, num_features), None, None)
    prompts = [str(index) for index in range(num_pairs)]
    yield f"| {num_pairs:,} pairs, {num_features} features | CPU s (target 5) |"
    yield "|---|---|"
    for ridge in (1.0, 1e-2, 1e-4):
        seconds = _seconds(partial(next, fit_heads(comparisons, [ridge])))
        yield f"| one head, ridge {ridge:g} | {seconds:.2f} |"
    chosen: list[float] = []

    def choose() -> None:
        chosen.append(choose_ridge(comparisons, prompts)[0])
        next(fit_heads(comparisons, chosen[-1:]))

    seconds = _seconds(choose)
    yield f"| ridge chosen ({chosen[-1]:g}), and the head | {seconds:.2f} |"


def _differences(num_pairs: int, num_features: int) -> Array:
    """Return differences that a head ranks with some errors."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(num_features, num_features)) * np.logspace(0, -2, num_features)
    differences = rng.normal(size=(num_pairs, num_features)) @ mixing
    scores = differences / differences.std(0) @ rng.normal(0, 1 / num_features**0.5, num_features)
    signs = np.where(rng.random(num_pairs) < 1 / (1 + np.exp(-2 * scores)), 1.0, -1.0)
    found: Array = differences * signs[:, None] * np.exp(rng.normal(0, 2, num_features))
    return found


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, help="folder of a language model")
    parser.add_argument("--pairs", required=True, help="file of pairs, in any format that `music train` reads")
    parser.add_argument("--conversations", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fit-pairs", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=576)
    settings = parser.parse_args(arguments)
    pairs = read_preferences(settings.pairs).pairs
    sides = [side for pair in pairs for side in (pair.chosen, pair.rejected)][: settings.conversations]
    for line in measure_states(settings.base, sides, settings.rounds):
        print(line)
    print()
    for line in measure_fits(settings.fit_pairs, settings.features):
        print(line)


if __name__ == "__main__":
    main()
