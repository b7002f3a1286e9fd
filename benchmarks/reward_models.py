"""Shared parts of the reward benchmarks: small random models, synthetic pairs, padded batches, interleaved timing."""

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor
from transformers import (
    Gemma2Config,
    Gemma2ForSequenceClassification,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForSequenceClassification,
)

__all__ = [
    "FAMILIES",
    "PAD",
    "VOCABULARY",
    "Pair",
    "Timing",
    "draw_ids",
    "draw_pairs",
    "interleave",
    "make_classifier",
    "pad",
    "setup",
    "versions",
]

PAD = 0
VOCABULARY = 2_000
_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 256,
    "intermediate_size": 1_024,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 4_096,
    "num_labels": 1,
    "pad_token_id": PAD,
}
FAMILIES = ("qwen3", "gemma2")
"""Gemma-2 with its softcap, and every other layer with a window of 128 tokens."""

Pair = tuple[list[int], list[int]]
"""Token ids of the chosen and of the rejected side."""


@dataclass(frozen=True, slots=True)
class Timing:
    """CPU seconds of each round."""

    seconds: list[float]

    @property
    def median(self) -> float:
        """The median of the rounds, in seconds."""
        return statistics.median(self.seconds)

    def rate(self, amount: float) -> str:
        """Return the amount per second: the median, and the range over the rounds."""
        slowest, fastest = amount / max(self.seconds), amount / min(self.seconds)
        return f"{amount / self.median:,.0f} | {slowest:,.0f}-{fastest:,.0f}"

    def times_faster(self, baseline: "Timing") -> float:
        """Return the speed-up over a baseline: the median of the rounds' ratios."""
        return statistics.median(b / a for a, b in zip(self.seconds, baseline.seconds, strict=True))


def make_classifier(family: str) -> PreTrainedModel:
    """Return a small classifier with fixed random weights in fp32."""
    torch.manual_seed(0)
    qwen3: Any = Qwen3ForSequenceClassification
    gemma2: Any = Gemma2ForSequenceClassification
    config = Gemma2Config(**_SHAPE, sliding_window=128, query_pre_attn_scalar=64)
    classifier: PreTrainedModel = qwen3(Qwen3Config(**_SHAPE)) if family == "qwen3" else gemma2(config)
    return classifier


def draw_ids(rng: random.Random, num: int) -> list[int]:
    """Draw tokens other than the padding token."""
    return [rng.randrange(1, VOCABULARY) for _ in range(num)]


def draw_pairs(num: int, shares: tuple[float, float], seed: int, median: int = 200) -> list[Pair]:
    """Draw pairs with lognormal lengths.

    Args:
        num: Number of pairs.
        shares: Range of the prefix's share of a side of median length; (0, 0) for sides that share nothing.
        seed: Seed of the draw.
        median: Median of the lengths, in tokens.
    """
    rng = random.Random(seed)
    pairs = []
    for _ in range(num):
        length = median * min(5.0, max(0.15, rng.lognormvariate(0, 0.6)))
        prefix = draw_ids(rng, round(length * rng.uniform(*shares)))
        rest = length - len(prefix)
        chosen, rejected = (prefix + draw_ids(rng, max(1, round(rest * rng.lognormvariate(0, 0.3)))) for _ in range(2))
        pairs.append((chosen, rejected))
    return pairs


def pad(sequences: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """Return the sequences padded on the right, with their mask."""
    ids = torch.full((len(sequences), max(map(len, sequences))), PAD)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = torch.tensor(sequence)
    return {"input_ids": ids, "attention_mask": (ids != PAD).long()}


def interleave(contenders: Mapping[str, Callable[[], object]], num_rounds: int) -> dict[str, Timing]:
    """Measure the process's CPU seconds; contenders alternate, after a warm-up round.

    With one thread, CPU seconds equal wall time on an idle machine, and are still meaningful on a busy one.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(num_rounds + 1):
        for name, run in contenders.items():
            began = time.process_time()
            run()
            seconds[name].append(time.process_time() - began)
    return {name: Timing(rounds[1:]) for name, rounds in seconds.items()}


def versions(*packages: str) -> str:
    """Return the versions of torch, transformers and other packages."""
    return ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", *packages))


def setup(*packages: str) -> str:
    """Return the description of the run."""
    shape = f"hidden size 256, 4 layers, vocabulary {VOCABULARY}"
    return f"{versions(*packages)}; {torch.get_num_threads()} thread(s), fp32, {shape}"
