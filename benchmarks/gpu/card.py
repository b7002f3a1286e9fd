"""The card, the model, and the FLOPs of a forward pass."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from transformers import Gemma2Config, Gemma2ForSequenceClassification

from benchmarks.reward_models import PAD
from music.reward.packing import PackedRow

__all__ = ["Card", "compile_layers", "forward_flops", "make_classifier", "shape"]

_GEMMA_2_9B: dict[str, Any] = {
    "vocab_size": 256_000,
    "hidden_size": 3_584,
    "intermediate_size": 14_336,
    "num_hidden_layers": 42,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "attn_logit_softcapping": 50.0,
    "sliding_window": 4_096,
    "max_position_embeddings": 16_384,
}
"""As google/gemma-2-9b, but for twice its positions."""
_SMALL: dict[str, Any] = _GEMMA_2_9B | {
    "vocab_size": 2_000,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "query_pre_attn_scalar": 16,
    "sliding_window": 128,
}
"""To try the scripts anywhere; its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Card:
    """The device, and the measured peak of its matrix units.

    Attributes:
        device: CUDA if available, else the CPU.
        peak: bf16 FLOP/s of a large matrix product, measured in this run.
    """

    device: torch.device
    peak: float

    @classmethod
    def measure(cls) -> "Card":
        """Time ten products of two random square matrices, after three to warm up."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        size = 8_192 if device.type == "cuda" else 512
        a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
        card = cls(device, 0.0)
        seconds = card.seconds(lambda: [a @ b for _ in range(10)], num_rounds=3)
        return cls(device, 10 * 2 * size**3 / min(seconds))

    def __str__(self) -> str:
        """Return the device, the versions and the peak."""
        name = torch.cuda.get_device_name() if self.device.type == "cuda" else "CPU: the figures mean nothing"
        versions = ", ".join(f"{package} {version(package)}" for package in ("torch", "transformers"))
        return f"{name}; {versions}; bf16 matrix products at {self.peak / 1e12:.3g} TFLOP/s"

    def seconds(self, run: Callable[[], object], num_rounds: int) -> list[float]:
        """Time rounds, after a warm-up round."""
        return [self._time(run) for _ in range(num_rounds + 1)][1:]

    def peak_memory(self, run: Callable[[], object]) -> str:
        """Run once and return the peak memory as text."""
        if self.device.type != "cuda":
            run()
            return "not measured"
        torch.cuda.reset_peak_memory_stats()
        run()
        return f"{torch.cuda.max_memory_allocated() / 1e9:.0f}"

    def _time(self, run: Callable[[], object]) -> float:
        self._synchronize()
        began = time.perf_counter()
        run()
        self._synchronize()
        return time.perf_counter() - began

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def shape(small: bool, num_layers: int | None = None) -> dict[str, Any]:
    """Return Gemma-2-9B's shape or a small one, with fewer layers if requested."""
    chosen = _SMALL if small else _GEMMA_2_9B
    return chosen | ({"num_hidden_layers": num_layers} if num_layers else {})


def make_classifier(shape: dict[str, Any], device: torch.device) -> Any:
    """Return a classifier with random weights in bf16."""
    config = Gemma2Config(**shape | {"num_labels": 1, "pad_token_id": PAD, "use_cache": False})
    of_config: Any = Gemma2ForSequenceClassification
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device:
            return of_config(config)
    finally:
        torch.set_default_dtype(default)


def forward_flops(config: Any, rows: Sequence[PackedRow]) -> float:
    """Return the FLOPs of a forward pass over rows: linear layers, and scores and values of the visible keys.

    The embedding is a look-up and the head one vector per reward: neither counts.
    """
    width = config.head_dim * config.num_attention_heads
    key_width = config.head_dim * config.num_key_value_heads
    matrices = config.hidden_size * (2 * width + 2 * key_width + 3 * config.intermediate_size)
    num_tokens = sum(row.num_tokens for row in rows)
    total: float = 2.0 * num_tokens * matrices * config.num_hidden_layers
    for kind in config.layer_types:
        window = config.sliding_window if kind == "sliding_attention" else config.max_position_embeddings
        num_seen = sum(int((row.positions() + 1).clamp(max=window).sum()) for row in rows)
        total += 4.0 * num_seen * width
    return total


def compile_layers(classifier: Any) -> None:
    """Compile each layer separately, so that all share one compilation."""
    for layer in classifier.model.layers:
        layer.compile()
